// Code as written: colored once its lines are complete, folded when long, wrapped on demand. Lines
// render in chunks, so that a growing block costs only its new part.
import { memo, useEffect, useId, useMemo, useState } from "react";
import { CopyButton } from "$/components/own/copy_button.jsx";
import { Diagram } from "$/components/own/diagram.jsx";
import { known, offload } from "$/components/own/offload.js";

const PIECE_LINES = 40;
const FOLD_LINES = 30;
const MAX_COLORED = 100_000;
const HIGHLIGHTED = new Set(["", "text", "plain", "plaintext", "txt"]);

function lineEnds(code) {
  const ends = [];
  for (let at = code.indexOf("\n"); at >= 0; at = code.indexOf("\n", at + 1)) ends.push(at + 1);
  return ends;
}

// How much of a growing block is colored: 40 lines, 80, 160 … so that all the coloring costs at most
// twice what coloring it once does.
function colorable(code, ends, closed) {
  if (closed) return code;
  let lines = PIECE_LINES;
  if (ends.length < lines) return "";
  while (lines * 2 <= ends.length) lines *= 2;
  return code.slice(0, ends[lines - 1]);
}

// `[beginning of the code, its runs]`, of the latest that has been colored.
function useColors(code, language, ends, closed) {
  const wanted = colorable(code, ends, closed);
  const off = HIGHLIGHTED.has(language) || !wanted || wanted.length > MAX_COLORED;
  const [colors, setColors] = useState(() => {
    const runs = off ? null : known("code", wanted, language);
    return runs ? [wanted, runs] : null;
  });
  useEffect(() => {
    if (off) return undefined;
    let current = true;
    offload("code", wanted, language).then((runs) => {
      if (current && runs) setColors([wanted, runs]);
    });
    return () => {
      current = false;
    };
  }, [wanted, language, off]);
  return colors && code.startsWith(colors[0]) ? colors : null;
}

// Runs cut at the ends of pieces.
function piecesOf(code, ends, colors) {
  const cuts = ends.filter((_, index) => (index + 1) % PIECE_LINES === 0 && ends[index] < code.length);
  const bounds = [0, ...cuts, code.length];
  const pieces = bounds.slice(1).map((end, index) => ({ text: code.slice(bounds[index], end), runs: null }));
  if (!colors) return pieces;
  const [colored, runs] = colors;
  let at = 0;
  let piece = 0;
  for (const [run, name] of runs) {
    let text = run;
    while (text) {
      const room = bounds[piece + 1] - at;
      const part = text.slice(0, room);
      (pieces[piece].runs ??= []).push([part, name]);
      at += part.length;
      text = text.slice(room);
      if (at === bounds[piece + 1] && piece < pieces.length - 1) piece += 1;
    }
  }
  const rest = pieces.find(({ runs: own }, index) => own && bounds[index + 1] > colored.length);
  if (rest) rest.runs.push([code.slice(colored.length, bounds[pieces.indexOf(rest) + 1]), ""]);
  return pieces;
}

const sameRuns = (one, other) =>
  one === other ||
  (one?.length === other?.length &&
    Boolean(one) &&
    one.every(([text, name], index) => text === other[index][0] && name === other[index][1]));

const Piece = memo(
  function Piece({ text, runs }) {
    return (
      <span className="code-lines">
        {runs
          ? runs.map(([part, name], index) =>
              name ? (
                <span key={index} className={name}>
                  {part}
                </span>
              ) : (
                part
              ),
            )
          : text}
      </span>
    );
  },
  (before, after) => before.text === after.text && sameRuns(before.runs, after.runs),
);

function Lines({ code, language, closed, folded, wrapped }) {
  const ends = useMemo(() => lineEnds(code), [code]);
  const colors = useColors(code, language, ends, closed);
  const pieces = useMemo(() => piecesOf(code, ends, colors), [code, ends, colors]);
  return (
    <pre
      tabIndex={0}
      dir="ltr"
      aria-label={language ? `${language} code` : "Code"}
      data-folded={folded}
      data-wrapped={wrapped}
    >
      <code>
        {pieces.map(({ text, runs }, index) => (
          <Piece key={index} text={text} runs={runs} />
        ))}
      </code>
    </pre>
  );
}

// `closed` says that nothing more will come.
export function CodeBlock({ text, language = "", closed }) {
  const code = text.replace(/\n$/, "");
  const id = useId();
  const [wrapped, setWrapped] = useState(false);
  const [open, setOpen] = useState(false);
  const [asSource, setAsSource] = useState(false);
  const [undrawable, setUndrawable] = useState(false);
  const count = useMemo(() => code.split("\n").length, [code]);
  const long = count > FOLD_LINES;
  const diagram = language.toLowerCase() === "mermaid" && closed && !undrawable;
  const source = !diagram || asSource;
  return (
    <div className="code-block">
      <div className="code-head">
        <span>{language || "text"}</span>
        <span className="code-actions">
          {diagram && (
            <button type="button" className="text-button" onClick={() => setAsSource(!asSource)}>
              {asSource ? "Show diagram" : "Show source"}
            </button>
          )}
          {source && (
            <button
              type="button"
              className="text-button"
              aria-label="Wrap lines"
              aria-pressed={wrapped}
              onClick={() => setWrapped(!wrapped)}
            >
              Wrap
            </button>
          )}
          <CopyButton label="Copy code" text={code} />
        </span>
      </div>
      {undrawable && <p className="code-note">This diagram can’t be drawn. Here is its source.</p>}
      {source ? (
        <div id={id}>
          <Lines
            code={code}
            language={language.toLowerCase()}
            closed={closed}
            folded={long && !open}
            wrapped={wrapped}
          />
          {long && (
            <button
              type="button"
              className="code-fold"
              aria-expanded={open}
              aria-controls={id}
              onClick={() => setOpen(!open)}
            >
              {open ? "Show fewer lines" : `Show all ${count} lines`}
            </button>
          )}
        </div>
      ) : (
        <Diagram source={code} onFailure={() => setUndrawable(true)} />
      )}
    </div>
  );
}
