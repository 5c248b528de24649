// The language of replies: CommonMark with tables, strikethrough, footnotes, bare addresses and
// formulas; no HTML but four harmless tags. `parse` makes trees of plain nodes; the renderer
// decides what to draw. A tree is never too deep or large for a page: a block that would be stays
// plain text.
import MarkdownIt from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import footnote from "markdown-it-footnote";
import { formulas } from "./formulas.js";

const MAX_DEPTH = 40;
const MAX_NODES = 20_000;
// A longer run of text without a blank line isn't a paragraph a person reads.
const MAX_INLINE_LENGTH = 20_000;
const MAX_COLUMNS = 100;
const MIN_CELLS = 2_000;

// Where bare addresses end: at spaces, quotes, brackets, and at the punctuation of scripts that
// write without spaces.
const STOPS = /[\s<>"`\\^{}|\u0000-\u001f\u060c\u061b\u061f\u06d4\u0964\u0965\u2014\u2018-\u201f\u2026\u2028-\u202e\u2039\u203a\u2066-\u2069\u3000-\u3004\u3008-\u3020\u3030\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\u00ab\u00bb]|\*\*|~~/g;
const TRAILING = /[?!.,:;*_~'$]+$/;
const SCHEMES = ["https", "http", "mailto"];
const LOCAL_PART = /[\w.+-]{1,64}$/;
const MAIL_HOST = /[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\.[a-z]{2,24}(?![\w-]|:\S)/iy;
const IN_BRACKETS = /<((?:https?:\/\/|mailto:)[^\s<>\u0000-\u001f]+|[\w.+-]{1,64}@[a-z0-9.-]{1,253}\.[a-z]{2,24})>/iy;
const TAG = /<(?:(br)\s*\/?|(kbd|sub|sup))>/iy;

// Up to a closing bracket that was not opened in the address.
function balanced(text) {
  let round = 0;
  let square = 0;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (sign === "(") round += 1;
    else if (sign === "[") square += 1;
    else if (sign === ")" && --round < 0) return text.slice(0, at);
    else if (sign === "]" && --square < 0) return text.slice(0, at);
  }
  return text;
}

function pushLink(state, href, text) {
  state.push("link_open", "a", 1).attrs = [["href", href]];
  state.push("text", "", 0).content = text;
  state.push("link_close", "a", -1);
}

// https://…, http://… and mailto:… as they stand in the text.
function bareAddress(state, silent) {
  const { src, pos, posMax } = state;
  if (src[pos] !== ":" || state.linkLevel > 0) return false;
  const scheme = SCHEMES.find(
    (name) => pos >= name.length && src.slice(pos - name.length, pos).toLowerCase() === name,
  );
  if (!scheme) return false;
  const start = pos - scheme.length;
  if (/[A-Za-z0-9+.-]/.test(src[start - 1] ?? "")) return false;
  if (scheme !== "mailto" && !src.startsWith("://", pos)) return false;
  STOPS.lastIndex = pos;
  const stop = STOPS.exec(src)?.index ?? src.length;
  const address = balanced(src.slice(start, Math.min(stop, posMax))).replace(TRAILING, "");
  const least = scheme.length + (scheme === "mailto" ? 1 : 3);
  if (address.length <= least || (scheme === "mailto" && !address.includes("@"))) return false;
  if (!silent) {
    if (!state.pending.toLowerCase().endsWith(scheme)) return false;
    state.pending = state.pending.slice(0, -scheme.length);
    pushLink(state, address, address);
  }
  state.pos = start + address.length;
  return true;
}

function bareMail(state, silent) {
  const { src, pos } = state;
  if (src[pos] !== "@" || state.linkLevel > 0) return false;
  const local = LOCAL_PART.exec(src.slice(Math.max(0, pos - 65), pos))?.[0];
  MAIL_HOST.lastIndex = pos + 1;
  const host = local && MAIL_HOST.exec(src)?.[0];
  if (!host || pos + 1 + host.length > state.posMax) return false;
  if (/[\w/:@]/.test(src[pos - local.length - 1] ?? "")) return false;
  if (!silent) {
    if (!state.pending.endsWith(local)) return false;
    state.pending = state.pending.slice(0, -local.length);
    pushLink(state, `mailto:${local}@${host}`, `${local}@${host}`);
  }
  state.pos = pos + 1 + host.length;
  return true;
}

function bracketedAddress(state, silent) {
  if (state.src[state.pos] !== "<") return false;
  IN_BRACKETS.lastIndex = state.pos;
  const found = IN_BRACKETS.exec(state.src);
  if (!found || state.pos + found[0].length > state.posMax) return false;
  if (!silent) {
    const [, address] = found;
    pushLink(state, address.includes(":") ? address : `mailto:${address}`, address);
  }
  state.pos += found[0].length;
  return true;
}

// <br>, and pairs of <kbd>, <sub> and <sup>; every other tag is text.
function tag(state, silent) {
  const { src, pos, posMax } = state;
  if (src[pos] !== "<") return false;
  TAG.lastIndex = pos;
  const [opening, line, name] = TAG.exec(src) ?? [];
  if (!opening || pos + opening.length > posMax) return false;
  if (line) {
    if (!silent) state.push("hardbreak", "br", 0);
    state.pos = pos + opening.length;
    return true;
  }
  const closing = `</${name.toLowerCase()}>`;
  const start = pos + opening.length;
  const end = endOf(state, closing, start);
  if (end <= start || end > posMax || state.level >= MAX_DEPTH) return false;
  if (!silent) {
    state.push("tag_open", name.toLowerCase(), 1);
    state.pos = start;
    state.posMax = end;
    state.md.inline.tokenize(state);
    state.posMax = posMax;
    state.push("tag_close", name.toLowerCase(), -1);
  }
  state.pos = end + closing.length;
  return true;
}

const closers = new WeakMap();
function endOf(state, closing, from) {
  if (!closers.has(state)) closers.set(state, { text: state.src.toLowerCase(), gone: new Set() });
  const { text, gone } = closers.get(state);
  const end = gone.has(closing) ? -1 : text.indexOf(closing, from);
  if (end < 0) gone.add(closing);
  return end;
}

// Unclosed markup at the end of the text so far: code already shows as code, a link as its text, and a
// picture as its name.
function unfinished(state, silent) {
  const { src, pos, posMax } = state;
  if (!state.env.open || silent || posMax !== src.length) return false;
  if (src[pos] === "`") {
    const run = /`+/y;
    run.lastIndex = pos;
    const [marks] = run.exec(src);
    if (new RegExp(`[^\`]${marks}(?!\`)`).test(src.slice(pos + marks.length))) return false;
    state.push("code_inline", "code", 0).content = src.slice(pos + marks.length).trimStart();
    state.pos = posMax;
    return true;
  }
  const picture = src.startsWith("![", pos);
  if (src[pos] !== "[" && !picture) return false;
  const label = picture ? pos + 1 : pos;
  const end = state.md.helpers.parseLinkLabel(state, label, !picture);
  const target = src.slice(end + 1);
  if (end >= 0 && target && (target[0] !== "(" || /[)\n]/.test(target))) return false;
  if (picture) {
    state.push("image", "", 0).content = src.slice(label + 1, end < 0 ? posMax : end);
    state.pos = posMax;
  } else if (end < 0) {
    state.pos += 1;
  } else {
    state.pos = label + 1;
    state.posMax = end;
    state.md.inline.tokenize(state);
    state.pos = state.posMax = posMax;
  }
  return true;
}

// Unclosed emphasis extends to the end of the text so far.
function unfinishedEmphasis(state) {
  if (!state.env.open) return false;
  const { delimiters } = state;
  for (let at = delimiters.length - 1; at >= 0; at -= 1) {
    const opener = delimiters[at];
    if (!opener.open || opener.end >= 0 || opener.marker === 0x7e) continue;
    const token = state.push("text", "", 0);
    opener.end = delimiters.length;
    delimiters.push({ ...opener, token: state.tokens.length - 1, end: -1, open: false, close: true });
    token.content = "";
  }
  return true;
}

// A table is drawn when its cells are as many as its text can bear; a thousand columns, or rows
// without end below a wide heading, stay text.
function oversizedTable(state, startLine, endLine, silent) {
  if (startLine + 1 >= endLine) return false;
  const { src, bMarks, tShift, eMarks } = state;
  const text = (line) => src.slice(bMarks[line] + tShift[line], eMarks[line]);
  const rule = text(startLine + 1);
  if (!/^[|:-][|:\-\s]*$/.test(rule) || !rule.includes("|")) return false;
  const columns = rule.trim().replace(/^\||\|$/g, "").split("|").length;
  if (columns <= MAX_COLUMNS && columns * (endLine - startLine) <= MIN_CELLS) return false;
  let end = startLine + 2;
  while (end < endLine && !state.isEmpty(end) && state.sCount[end] >= state.blkIndent) end += 1;
  const length = eMarks[end - 1] - bMarks[startLine];
  if (columns <= MAX_COLUMNS && columns * (end - startLine) <= Math.max(MIN_CELLS, length / 4)) {
    return false;
  }
  if (silent) return true;
  const token = state.push("plain", "", 0);
  token.content = state.getLines(startLine, end, state.blkIndent, false);
  token.map = [startLine, end];
  state.line = end;
  return true;
}

// As markdown-it's own rule; the last inline text of a growing reply is open.
function inlines(state) {
  const { tokens, env, md } = state;
  const lastContent = tokens.findLastIndex((token) => token.nesting !== -1);
  const open = env.streaming && !/\n[ \t]*\n[ \t]*$/.test(state.src);
  tokens.forEach((token, index) => {
    if (token.type !== "inline") return;
    if (token.content.length > MAX_INLINE_LENGTH) {
      const text = new state.Token("plain", "", 0);
      text.content = token.content;
      token.children.push(text);
      return;
    }
    env.open = open && index === lastContent;
    // What may still become markup waits for the next character.
    const text = env.open ? token.content.replace(/[*_~`![\\$]+$/, "") : token.content;
    md.inline.parse(text, md, env, token.children);
    env.open = false;
  });
}

const md = new MarkdownIt({ html: false, linkify: false, maxNesting: MAX_DEPTH });
// Addresses are judged where links are drawn, by the browser's own parser.
md.validateLink = () => true;
md.normalizeLink = (address) => address;
md.use(cjkFriendly).use(footnote).use(formulas);
md.inline.ruler.disable("footnote_inline");
md.core.ruler.at("inline", inlines);
md.block.ruler.before("table", "oversized_table", oversizedTable, { alt: ["paragraph", "reference"] });
md.inline.ruler.at("autolink", bracketedAddress);
md.inline.ruler.before("autolink", "bare_address", bareAddress);
md.inline.ruler.before("autolink", "bare_mail", bareMail);
md.inline.ruler.before("autolink", "tag", tag);
md.inline.ruler.before("backticks", "unfinished", unfinished);
md.inline.ruler2.before("emphasis", "unfinished", unfinishedEmphasis);

class TooMuch extends Error {}

const attribute = (token, name) => token.attrGet?.(name) ?? undefined;

// One node per token: only what the renderer needs.
function nodeOf(token, lines) {
  const type = token.type.replace(/_open$/, "");
  const node = { type };
  if (token.nesting === 1) node.children = [];
  if (token.tag) node.tag = token.tag;
  if (token.content) node.text = token.content;
  if (token.map && (type === "list_item" || type === "tr")) node.source = lines(token.map);
  if (type === "link") {
    node.href = attribute(token, "href") ?? "";
  } else if (type === "ordered_list") {
    node.start = Number(attribute(token, "start") ?? 1);
  } else if (type === "th" || type === "td") {
    node.align = /text-align:(\w+)/.exec(attribute(token, "style") ?? "")?.[1];
  } else if (type === "fence") {
    node.language = /^[\w+#.-]*/.exec(token.info.trim())[0];
    const drawn = token.content ? token.content.replace(/\n$/, "").split("\n").length : 0;
    node.closed = token.map[1] - token.map[0] === drawn + 2;
  } else if (type === "formula") {
    node.display = token.meta.display;
    if (token.meta.growing) node.growing = true;
  } else if (type.startsWith("footnote")) {
    node.meta = token.meta;
  }
  return node;
}

// The tree of one block's tokens.
function tree(tokens, lines) {
  const root = [];
  const open = [{ children: root }];
  let count = 0;
  const visit = (token) => {
    count += 1;
    if (count > MAX_NODES || token.level >= MAX_DEPTH - 1) throw new TooMuch();
    if (token.type === "inline") {
      token.children.forEach(visit);
    } else if (token.nesting === -1) {
      if (!token.hidden && open.length > 1) open.pop();
    } else if (!token.hidden) {
      const { children } = open.at(-1);
      const text = token.type === "softbreak" ? "\n" : token.type === "text" && token.content;
      if (text === "") return;
      if (text && children.at(-1)?.type === "text") {
        children.at(-1).text += text;
        return;
      }
      const node = text ? { type: "text", text } : nodeOf(token, lines);
      children.push(node);
      if (token.nesting === 1) open.push(node);
      if (open.length > MAX_DEPTH) throw new TooMuch();
    }
  };
  tokens.forEach(visit);
  return root;
}

// `text` as blocks: `{start, source, nodes}`, `start` being the line each begins with. `streaming`
// says that more may come.
function parse(text, streaming) {
  const ends = [];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) ends.push(at + 1);
  const offset = (line) => (line === 0 ? 0 : (ends[line - 1] ?? text.length));
  const lines = ([from, to]) => text.slice(offset(from), offset(to));
  const tokens = md.parse(text, { streaming });
  const blocks = [];
  let tokensOfBlock = [];
  let depth = 0;
  for (const token of tokens) {
    tokensOfBlock.push(token);
    depth += token.nesting;
    if (depth > 0) continue;
    const [first] = tokensOfBlock;
    blocks.push({ map: first.map, tokens: tokensOfBlock });
    tokensOfBlock = [];
  }
  return blocks.map(({ map, tokens: own }) => {
    const source = map ? lines(map) : "";
    let nodes;
    try {
      nodes = tree(own, lines);
    } catch (error) {
      if (!(error instanceof TooMuch)) throw error;
      nodes = [{ type: "plain", text: source.trimEnd() }];
    }
    return { start: map ? offset(map[0]) : text.length, source, nodes };
  });
}

const DEFINITION = /^ {0,3}(?:>\s*)?\[[^\]\n]+\]:/m;
const NOTHING = { text: "", streaming: true, done: [], rest: 0, blocks: [], fence: null };

// The code block that is being written at the end, if one is: where its code begins, and what ends it.
function openFence(blocks) {
  const block = blocks.at(-1);
  const [node] = block?.nodes ?? [];
  if (node?.type !== "fence" || node.closed) return null;
  const [opening, mark] = /^(`{3,}|~{3,})[^\n]*\n/.exec(block.source) ?? [];
  if (!opening) return null;
  const ending = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}`, "m");
  return { node, block, code: block.start + opening.length, ending };
}

// The blocks of a reply that has grown since `before`, the result for its earlier text. Only
// unsettled blocks are parsed again. A block is settled when another has begun on a complete line.
export function blocksOf(written, streaming, before = NOTHING) {
  // The parser counts lines by each kind of end.
  const text = written.replace(/\r\n?/g, "\n");
  const grown = before.text.length > 0 && before.streaming && text.startsWith(before.text);
  const { fence } = before;
  if (grown && streaming && fence) {
    const line = Math.max(before.text.lastIndexOf("\n") + 1, fence.code);
    if (!fence.ending.test(text.slice(line))) {
      // Nothing in it is markup: its code grows, and nothing is parsed.
      const node = { ...fence.node, text: text.slice(fence.code) };
      const block = { ...fence.block, source: text.slice(fence.block.start), nodes: [node] };
      return { ...before, text, blocks: [...before.blocks.slice(0, -1), block] };
    }
  }
  // References reach from one end of a reply to the other.
  const whole = !grown || (!streaming && DEFINITION.test(text));
  const { done, rest } = whole ? NOTHING : before;
  const tail = text.slice(rest);
  const found = parse(tail, streaming).map((block) => ({ ...block, start: block.start + rest }));
  const lastLine = tail.lastIndexOf("\n") + 1 + rest;
  const settled = Math.max(found.findLastIndex((block) => block.start < lastLine), 0);
  return {
    text,
    streaming,
    done: [...done, ...found.slice(0, settled)],
    rest: found[settled]?.start ?? rest,
    blocks: [...done, ...found],
    fence: openFence(found),
  };
}
