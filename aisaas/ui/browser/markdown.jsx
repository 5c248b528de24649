// A reply's text as it grows: markdown, tables, code, formulas. A model wrote it, so nothing in it
// is trusted: no raw HTML, links to the web and mail only, no picture is ever fetched.
import { isValidElement, memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Streamdown, defaultRehypePlugins } from "streamdown";
import { createMathPlugin } from "@streamdown/math";
import "katex/dist/katex.min.css";

const LINKS = ["https://", "http://", "mailto:"];
const COPIED_MS = 1600;

const [harden] = defaultRehypePlugins.harden;
// Without the `raw` plugin HTML stays the text it is.
const REHYPE = [
  defaultRehypePlugins.sanitize,
  [harden, { allowedLinkPrefixes: LINKS, allowedProtocols: [], allowedImagePrefixes: [], allowDataImages: false, defaultOrigin: "https://invalid.invalid" }],
];
const PLUGINS = { math: createMathPlugin({ singleDollarTextMath: false, errorColor: "inherit" }) };

// Models write \( \), \[ \] and $ $; the parser knows $$. A single dollar opens a formula only when
// it reads like one, so that prices stay prices. Code is left alone.
const CODE = /(```[\s\S]*?(?:```|$)|`[^`\n]*`)/;
const DISPLAY = /\\\[([\s\S]*?)\\\]/g;
const INLINE = /\\\(([\s\S]*?)\\\)/g;
const DOLLARS = /(^|[^\\$\w])\$(?![\s$])([^$\n]*?[^$\s\\])\$(?![$\w])/g;
const FORMULA = /[\\^_=+*/<>{}]|^[A-Za-z]$/;

function withMath(text) {
  if (!/\\[([]|\$/.test(text)) return text;
  return text
    .split(CODE)
    .map((part, index) => {
      if (index % 2) return part;
      return part
        .replace(DISPLAY, (_, inner) => `\n$$\n${inner.trim()}\n$$\n`)
        .replace(INLINE, (_, inner) => `$$${inner.trim()}$$`)
        .replace(DOLLARS, (found, before, inner) =>
          FORMULA.test(inner) ? `${before}$$${inner}$$` : found,
        );
    })
    .join("");
}

const plain = (node) => {
  if (node == null || typeof node === "boolean") return "";
  if (Array.isArray(node)) return node.map(plain).join("");
  return isValidElement(node) ? plain(node.props.children) : String(node);
};

let highlighter;
const loadHighlighter = () => {
  highlighter ??= import("$/components/own/highlight.jsx").then((module) => module.highlight);
  return highlighter;
};

function useHighlighted(code, language) {
  const [highlight, setHighlight] = useState(null);
  useEffect(() => {
    let wanted = true;
    loadHighlighter().then((found) => wanted && setHighlight(() => found));
    return () => {
      wanted = false;
    };
  }, []);
  return useMemo(
    () => (highlight ? highlight(code, language) : null) ?? code,
    [highlight, code, language],
  );
}

function CopyButton({ label, text }) {
  const [copied, setCopied] = useState(false);
  const onClick = useCallback(async () => {
    try {
      await navigator.clipboard.writeText(text());
      setCopied(true);
      setTimeout(() => setCopied(false), COPIED_MS);
    } catch {
      setCopied(false);
    }
  }, [text]);
  return (
    <button type="button" className="text-button" aria-label={label} onClick={onClick}>
      {copied ? "Copied" : "Copy"}
    </button>
  );
}

function Code({ className, children }) {
  const code = plain(children).replace(/\n$/, "");
  const language = /language-([\w+#.-]+)/.exec(className ?? "")?.[1] ?? "";
  const shown = useHighlighted(code, language);
  const text = useCallback(() => code, [code]);
  return (
    <div className="code-block">
      <div className="code-head">
        <span>{language || "text"}</span>
        <CopyButton label="Copy code" text={text} />
      </div>
      <pre tabIndex={0} aria-label={language ? `${language} code` : "Code"}>
        <code>{shown}</code>
      </pre>
    </div>
  );
}

const asTsv = (table) =>
  [...table.rows].map((row) => [...row.cells].map((cell) => cell.innerText.trim()).join("\t")).join("\n");

function Table({ children }) {
  const table = useRef(null);
  const text = useCallback(() => asTsv(table.current), []);
  return (
    <div className="table-block">
      <div className="table-scroll" tabIndex={0} role="group" aria-label="Table">
        <table ref={table}>{children}</table>
      </div>
      <CopyButton label="Copy table" text={text} />
    </div>
  );
}

const element = (Tag) =>
  function Element({ children, id, align }) {
    return (
      <Tag id={id} data-align={align}>
        {children}
      </Tag>
    );
  };

const COMPONENTS = {
  code: Code,
  inlineCode: element("code"),
  table: Table,
  a: ({ href, children }) =>
    href && LINKS.some((prefix) => href.startsWith(prefix)) ? (
      <a href={href} target="_blank" rel="noopener noreferrer nofollow ugc" title={href}>
        {children}
      </a>
    ) : (
      <span>{children}</span>
    ),
  img: ({ alt }) => <span className="blocked-image">[picture{alt ? `: ${alt}` : ""}]</span>,
  h1: element("h3"),
  h2: element("h4"),
  h3: element("h5"),
  h4: element("h6"),
  h5: element("h6"),
  h6: element("h6"),
};
for (const tag of ["p", "ul", "ol", "li", "blockquote", "hr", "strong", "em", "thead", "tbody", "tr", "th", "td", "sub", "sup", "section"]) {
  COMPONENTS[tag] ??= tag === "hr" ? () => <hr /> : element(tag);
}
COMPONENTS.ol = ({ start, children }) => <ol start={start}>{children}</ol>;
COMPONENTS.th = ({ style, children }) => <th style={style}>{children}</th>;
COMPONENTS.td = ({ style, children }) => <td style={style}>{children}</td>;

export const Markdown = memo(function Markdown({ text, streaming }) {
  const source = useMemo(() => withMath(text), [text]);
  return (
    <Streamdown
      className="prose"
      mode={streaming ? "streaming" : "static"}
      components={COMPONENTS}
      rehypePlugins={REHYPE}
      plugins={PLUGINS}
      controls={false}
      linkSafety={{ enabled: false }}
    >
      {source}
    </Streamdown>
  );
});
