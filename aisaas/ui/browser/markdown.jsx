// A reply's text as it grows. A model wrote it, so it is as untrusted as text from a user: only the
// kinds listed here are rendered, nothing is fetched, and the rest is shown as plain text.
import { Component, createElement, memo, useDeferredValue, useId, useMemo, useRef } from "react";
import { CodeBlock } from "$/components/own/code_block.jsx";
import { CopyButton } from "$/components/own/copy_button.jsx";
import { Formula } from "$/components/own/formula.jsx";
import { blocksOf } from "$/components/own/markdown_parser.js";
import { safeTarget } from "$/components/own/safe_target.js";

const plain = (nodes = []) =>
  nodes.map(({ type, text, children }) => text ?? (type === "hardbreak" ? " " : plain(children))).join("");

const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

// The direction of a container whose parts have their own, which `dir="auto"` would skip.
function directionOf(nodes) {
  const [letter] = /\p{L}/u.exec(plain(nodes)) ?? [""];
  return RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
}

function Link({ href, children, label }) {
  const target = safeTarget(href);
  if (!target) return <span>{children}</span>;
  // A link that is called something else than where it leads says so; so does one whose host only
  // looks like another's.
  const asWritten = label === href && href.toLowerCase().includes(target.host);
  const named = asWritten || [target.href, target.shown, target.host].includes(label);
  return (
    <a
      href={target.href}
      target="_blank"
      rel="noopener noreferrer nofollow"
      title={target.href}
      data-leads-to={named ? undefined : target.host}
    >
      {children}
    </a>
  );
}

const asTsv = (table) =>
  table.children
    .flatMap((part) => part.children)
    .map((row) => row.children.map((cell) => plain(cell.children).replace(/\s+/g, " ").trim()).join("\t"))
    .join("\n");

function FootnoteLink({ id, target, label, children }) {
  const onClick = (event) => {
    const element = document.getElementById(target);
    if (!element) return;
    event.preventDefault();
    element.scrollIntoView({ block: "center" });
    element.focus({ preventScroll: true });
  };
  return (
    <a id={id} href={`#${target}`} aria-label={label} onClick={onClick}>
      {children}
    </a>
  );
}

// Items of lists and rows of tables are drawn again only when their own text has changed.
const Piece = memo(
  function Piece({ tag, node, context }) {
    return createElement(tag, null, draw(node.children, context));
  },
  ({ node: before, context: was }, { node: after, context: is }) =>
    before === after ||
    (before.source === after.source &&
      !after.source.includes("[") &&
      was.streaming === is.streaming &&
      before.children.length === after.children.length &&
      before.children.every((child, index) => child.type === after.children[index].type)),
);

const HEADINGS = { h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6", h6: "h6" };
const TASK = /^\[([ xX])\]\s/;

function item(node, key, context) {
  const inner = { ...context, inList: true };
  const [first] = node.children;
  const text = first?.type === "paragraph" ? first.children[0] : first;
  const task = text?.type === "text" ? TASK.exec(text.text) : null;
  if (!task) return <Piece key={key} tag="li" node={node} context={inner} />;
  const rest = { ...text, text: text.text.slice(task[0].length) };
  const children =
    first === text
      ? [rest, ...node.children.slice(1)]
      : [{ ...first, children: [rest, ...first.children.slice(1)] }, ...node.children.slice(1)];
  return (
    <li key={key} className="task">
      <input type="checkbox" disabled checked={task[1] !== " "} readOnly aria-label={task[1] === " " ? "To do" : "Done"} />
      {draw(children, inner)}
    </li>
  );
}

const cell = (tag) => (node, key, context) =>
  createElement(tag, { key, dir: "auto", "data-align": node.align }, draw(node.children, context));

const element = (tag) => (node, key, context) =>
  createElement(tag, { key }, draw(node.children, context));

const NODES = {
  text: ({ text }) => text,
  // A list has one direction; the paragraphs in it follow its.
  paragraph: (node, key, context) => (
    <p key={key} dir={context.inList ? undefined : "auto"}>
      {draw(node.children, context)}
    </p>
  ),
  heading: (node, key, context) =>
    createElement(HEADINGS[node.tag], { key, dir: "auto" }, draw(node.children, context)),
  blockquote: (node, key, context) => (
    <blockquote key={key} dir={directionOf(node.children)}>
      {draw(node.children, { ...context, inList: false })}
    </blockquote>
  ),
  bullet_list: (node, key, context) => (
    <ul key={key} dir="auto">
      {draw(node.children, context)}
    </ul>
  ),
  ordered_list: (node, key, context) => (
    <ol key={key} dir="auto" start={node.start}>
      {draw(node.children, context)}
    </ol>
  ),
  list_item: item,
  hr: (_, key) => <hr key={key} />,
  hardbreak: (_, key) => <br key={key} />,
  strong: element("strong"),
  em: element("em"),
  s: element("s"),
  tag: (node, key, context) => createElement(node.tag, { key }, draw(node.children, context)),
  link: (node, key, context) => (
    <Link key={key} href={node.href} label={plain(node.children)}>
      {draw(node.children, context)}
    </Link>
  ),
  image: ({ text }, key) => (
    <span key={key} className="picture">
      {text ? `[Picture not loaded: ${text}]` : "[Picture not loaded]"}
    </span>
  ),
  code_inline: ({ text }, key) => (
    <code key={key} dir="ltr">
      {text}
    </code>
  ),
  fence: ({ text, language, closed }, key, { streaming }) => (
    <CodeBlock key={key} text={text ?? ""} language={language} closed={closed || !streaming} />
  ),
  code_block: ({ text }, key, { streaming }) => (
    <CodeBlock key={key} text={text ?? ""} closed={!streaming} />
  ),
  formula: ({ text, display, growing }, key) => (
    <Formula key={`${key} ${display}`} tex={text} display={display} growing={growing} />
  ),
  pending: (_, key) => <span key={key} className="pending" aria-hidden="true" />,
  plain: ({ text }, key) => (
    <span key={key} className="plain-text" dir="auto">
      {text}
    </span>
  ),
  table: (node, key, context) => (
    <div key={key} className="table-block">
      <div className="table-scroll" tabIndex={0} role="group" aria-label="Table">
        <table dir={directionOf(node.children.slice(0, 1))}>{draw(node.children, context)}</table>
      </div>
      <CopyButton label="Copy table" text={() => asTsv(node)} />
    </div>
  ),
  thead: element("thead"),
  tbody: element("tbody"),
  tr: (node, key, context) => <Piece key={key} tag="tr" node={node} context={context} />,
  th: cell("th"),
  td: cell("td"),
  footnote_ref: ({ meta }, key, { id }) => (
    <sup key={key}>
      <FootnoteLink
        id={`${id}-ref-${meta.id}-${meta.subId}`}
        target={`${id}-note-${meta.id}`}
        label={`Footnote ${meta.id + 1}`}
      >
        {meta.id + 1}
      </FootnoteLink>
    </sup>
  ),
  footnote_block: (node, key, context) => (
    <ol key={key} className="footnotes" aria-label="Footnotes">
      {draw(node.children, context)}
    </ol>
  ),
  footnote: (node, key, context) => (
    <li key={key} id={`${context.id}-note-${node.meta.id}`} tabIndex={-1}>
      {draw(node.children, context)}
    </li>
  ),
  footnote_anchor: ({ meta }, key, { id }) => (
    <FootnoteLink key={key} target={`${id}-ref-${meta.id}-${meta.subId}`} label="Back to the text">
      {" ↩"}
    </FootnoteLink>
  ),
};

// A line break after each, so that words shown apart stay apart in the plain text.
const STANDS_APART = new Set([
  ...["paragraph", "heading", "blockquote", "bullet_list", "ordered_list", "list_item", "hr", "fence"],
  ...["code_block", "plain", "table", "thead", "tbody", "tr", "th", "td", "footnote_block", "footnote"],
]);

const draw = (nodes, context) =>
  nodes.flatMap((node, key) => {
    const drawn = NODES[node.type]?.(node, key, context);
    return STANDS_APART.has(node.type) ? [drawn, "\n"] : [drawn];
  });

const Block = memo(
  function Block({ block, streaming, id }) {
    return draw(block.nodes, { streaming, id, inList: false });
  },
  ({ block: before, ...was }, { block: after, ...is }) =>
    was.streaming === is.streaming &&
    (before === after || (before.source === after.source && after.source !== "" && !after.source.includes("["))),
);

function Blocks({ text, streaming }) {
  const id = useId();
  const latest = useRef(undefined);
  const { blocks } = useMemo(() => {
    latest.current = blocksOf(text, streaming, latest.current);
    return latest.current;
  }, [text, streaming]);
  return blocks.map((block, index) => (
    <Block
      key={index}
      block={block}
      streaming={streaming && index === blocks.length - 1}
      id={id}
    />
  ));
}

const Plain = ({ text }) => (
  <p className="plain-text" dir="auto">
    {text}
  </p>
);

// A reply that can't be drawn is shown as it was written, and takes nothing else with it.
class Boundary extends Component {
  state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  render() {
    return this.state.failed ? <Plain text={this.props.text} /> : this.props.children;
  }
}

export const Markdown = memo(function Markdown({ text, streaming }) {
  // Typing comes first: a growing reply is drawn when the page has time.
  const shown = useDeferredValue(text);
  const growing = streaming || shown !== text;
  return (
    <div className="prose">
      <Boundary text={text}>
        <Blocks text={shown} streaming={growing} />
      </Boundary>
    </div>
  );
});
