// Formulas as models write them: \( \), \[ \], $$ $$ and $ $. They are found by the parser, so that
// code, links and tables keep their dollars, and what a formula holds is nothing but TeX.

const MAX_INLINE = 1000;
// The longest formula that is drawn while it is written, in characters.
const MAX_GROWING = 1000;
const PENDING = { pending: true };
const OPENERS = { "(": "\\)", "[": "\\]" };

// Where `closer` begins in `text` at or after `from`, or -1. A backslash escapes what follows it:
// \\] is a line's end of TeX before a bracket.
function find(text, closer, from) {
  for (let at = from; at < text.length; at += 1) {
    if (text.startsWith(closer, at)) return at;
    if (text[at] === "\\") at += 1;
  }
  return -1;
}

// The same for the text being parsed. A failure is remembered: thousands of openers without an end
// must not each look through the rest.
const hopeless = new WeakMap();
function findOnce(state, closer, from) {
  if (!hopeless.has(state)) hopeless.set(state, new Set());
  const known = hopeless.get(state);
  const end = known.has(closer) ? -1 : find(state.src, closer, from);
  if (end < 0) known.add(closer);
  return end;
}

// Dollars are money more often than they are TeX. Between two of them stands a formula when they hug
// it, no letter or digit touches them from outside, and it doesn't read as an amount or as prose.
const BEFORE_DOLLAR = /[\w$\\]/;
const AFTER_DOLLAR = /[\w$([{\\]/;
const CANT_BEGIN = /^[\s)\]}.,;:!?%/*_~`"'»”’]/;
const CANT_END = /[\s([{~`"«“‘\\]$/;
const COMMAND = /\\[A-Za-z]+(?:\s*\{[^{}]*\})*|[_^]\{[^{}]*\}/g;
const SIGNS = /[\\^_=<>{}]/;
const AMOUNT = /^[-+±~≈<>]?\s*\d/;
const WORD = /^\p{L}{2,}[,.;:]?$/u;
const LONG_WORD = /^\p{L}{4,}$/u;
const FUNCTION = /^(?:sin|cos|tan|log|ln|exp|mod|max|min|gcd|lim|det|dim|ker)$/;

function readsAsAmount(inner, bare) {
  if (/\p{L}{2}/u.test(bare) || /[*_]$/.test(inner)) return true;
  return /,\s/.test(inner) && !inner.includes("\\");
}

function readsAsProse(inner, bare) {
  if (!SIGNS.test(inner) && LONG_WORD.test(bare.trim())) return true;
  const pieces = bare.split(/\s+/).filter(Boolean);
  if (pieces.length < 2) return false;
  const words = pieces.map((piece) => WORD.test(piece) && !FUNCTION.test(piece));
  if (words.some((word, index) => word && words[index + 1])) return true;
  return words.includes(true) && !SIGNS.test(inner);
}

// Whether unfinished text can still become a formula.
function mayBecomeFormula(inner) {
  if (inner.length > MAX_INLINE || inner.includes("\n") || CANT_BEGIN.test(inner)) return false;
  const bare = inner.replace(COMMAND, " ");
  return AMOUNT.test(inner) ? !readsAsAmount(inner, bare) : !readsAsProse(inner, bare);
}

// Whether the text between two dollars is a formula; `before` and `after` are the characters
// outside.
export function isFormula(inner, before = "", after = "") {
  if (BEFORE_DOLLAR.test(before) || AFTER_DOLLAR.test(after)) return false;
  if (after === "/" && AMOUNT.test(inner)) return false;
  return inner !== "" && !CANT_END.test(inner) && mayBecomeFormula(inner);
}

function single(state, pos, open) {
  const { src, posMax } = state;
  const before = pos > 0 ? src[pos - 1] : "";
  let end = pos + 1;
  for (; end < posMax && src[end] !== "$"; end += 1) {
    if (src[end] === "\n" || end - pos > MAX_INLINE) return null;
    if (src[end] === "\\") end += 1;
  }
  if (end >= posMax) {
    const rest = src.slice(pos + 1, posMax);
    return open && rest && !BEFORE_DOLLAR.test(before) && mayBecomeFormula(rest) ? PENDING : null;
  }
  const inner = src.slice(pos + 1, end);
  if (!isFormula(inner, before, src[end + 1])) return null;
  return { tex: inner, display: false, next: end + 1 };
}

// An ending that may still become a command, a script, or the formula's end.
const UNDECIDED = /(?:\\(?:begin|end)\{[^}]*|\\+[A-Za-z]*|[\s_^&$]+)$/;
const OPENED = /\\begin\{([^}]*)\}|\\end\{[^}]*\}|\\(?:left|right)(?![A-Za-z])|\\.|[{}]/gs;

// A formula so far, with everything in it closed: it is drawn while it is written.
function soFar(source) {
  const text = source.slice(0, MAX_GROWING).trim().replace(UNDECIDED, "").trimEnd();
  const closers = [];
  for (const [sign, environment] of text.matchAll(OPENED)) {
    if (environment) closers.unshift(`\\end{${environment}}`);
    else if (sign === "{") closers.unshift("}");
    else if (sign === "\\left") closers.unshift("\\right.");
    else if (sign === "}" || sign === "\\right" || sign.startsWith("\\end")) closers.shift();
  }
  return text + closers.join("");
}

function between(state, pos, closer, display, open) {
  const { src, posMax } = state;
  const end = findOnce(state, closer, pos + 2);
  if (end < 0 || end + 2 > posMax) {
    if (!open || end >= 0) return null;
    const tex = soFar(src.slice(pos + 2));
    return tex ? { tex, display, growing: true, next: posMax } : PENDING;
  }
  const tex = src.slice(pos + 2, end).trim();
  return tex ? { tex, display, next: end + 2 } : null;
}

function inline(state, silent) {
  const { src, pos, posMax } = state;
  const sign = src[pos];
  if ((sign !== "\\" && sign !== "$") || pos + 1 >= posMax) return false;
  const next = src[pos + 1];
  const open = state.env.open && posMax === src.length;
  let found = null;
  if (sign === "\\") {
    if (OPENERS[next]) found = between(state, pos, OPENERS[next], next === "[", open);
  } else if (next === "$") {
    if (src[pos + 2] !== "$" && src[pos - 1] !== "$") {
      found = between(state, pos, "$$", src.slice(0, pos).trim() === "", open);
      // Two dollars are a formula of its own only where nothing else is in the paragraph.
      if (found?.display) found.display = src.slice(found.next).trim() === "";
    }
  } else {
    found = single(state, pos, open);
  }
  if (!found) return false;
  if (!silent) {
    const token = state.push(found.pending ? "pending" : "formula", "", 0);
    token.content = found.tex ?? "";
    token.meta = { display: found.display, growing: found.growing };
  }
  state.pos = found.pending ? posMax : found.next;
  return true;
}

// Lines whose closer has text behind it: no opener before it begins a block.
const followed = new WeakMap();

// A formula that begins a line is read as a block: what looks like a list, a heading or a quotation
// inside it is TeX.
function block(state, startLine, endLine, silent) {
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const text = (line) => state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]);
  const first = text(startLine);
  const opener = first.slice(0, 2);
  if (opener !== "\\[" && opener !== "$$") return false;
  const closer = opener === "$$" ? "$$" : "\\]";
  const alone = first.trim() === opener;
  if (startLine < (followed.get(state)?.[closer] ?? 0)) return false;
  let line = startLine;
  let end = find(first, closer, 2);
  if (end < 0) {
    const from = state.bMarks[startLine] + state.tShift[startLine] + 2;
    if (findOnce(state, closer, from) < 0 && !state.env.streaming) return false;
    for (line += 1; line < endLine; line += 1) {
      const blank = state.isEmpty(line);
      if (!blank && state.sCount[line] < state.blkIndent) break;
      if (blank && !alone) break;
      end = find(text(line), closer, 0);
      if (end >= 0) break;
    }
  }
  if (end < 0) {
    // Everything up to the end of what has come is the formula's beginning.
    if (!state.env.streaming || line < state.bMarks.length - 1) return false;
    if (silent) return true;
    const written = [first.slice(2)];
    for (let at = startLine + 1; at < line; at += 1) written.push(text(at));
    const tex = soFar(written.join("\n"));
    const token = state.push(tex ? "formula" : "pending", "", 0);
    token.content = tex;
    token.meta = { display: true, growing: true };
    token.map = [startLine, line];
    state.line = line;
    return true;
  }
  const ending = line === startLine ? first : text(line);
  if (ending.slice(end + 2).trim()) {
    followed.set(state, { ...followed.get(state), [closer]: line });
    return false;
  }
  const lines = [];
  for (let at = startLine; at <= line; at += 1) lines.push(text(at));
  lines[lines.length - 1] = ending.slice(0, end);
  lines[0] = lines[0].slice(2);
  const tex = lines.join("\n").trim();
  if (!tex) return false;
  if (silent) return true;
  const token = state.push("formula", "", 0);
  token.content = tex;
  token.meta = { display: true };
  token.map = [startLine, line + 1];
  state.line = line + 1;
  return true;
}

export function formulas(md) {
  md.inline.ruler.before("escape", "formula", inline);
  md.block.ruler.before("fence", "formula", block, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
}
