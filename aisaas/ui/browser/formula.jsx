// A formula, drawn by KaTeX; its source where that can't be done.
import { memo, useEffect, useRef, useState } from "react";
import { known, offload } from "$/components/own/offload.js";

// What KaTeX makes of more than this takes a page too long to lay out.
const MAX_LENGTH = 2000;
const MAX_DRAWN = 200_000;

let styles;
const loadStyles = () => (styles ??= import("katex/dist/katex.min.css"));

// KaTeX's markup, null where there is none, undefined while the first is being made. While a formula grows,
// the part before is shown until the next is drawn, which a part that ends anywhere may not be.
function useDrawn(tex, display, growing) {
  const tooLong = tex.length > MAX_LENGTH;
  const [shown, setShown] = useState(() => {
    const html = tooLong ? null : known("formula", tex, display);
    return { html, tex: html === undefined ? undefined : tex };
  });
  const asking = useRef(false);
  // After each render: several pieces may have come while one was drawn.
  useEffect(() => {
    if (tooLong || asking.current || shown.tex === tex) return;
    asking.current = true;
    Promise.all([offload("formula", tex, display), loadStyles()])
      .then(([html]) => html, () => null)
      .then((html) => {
        asking.current = false;
        setShown((before) => ({ tex, html: html === null && growing ? before.html : html }));
      });
  });
  return tooLong ? null : shown.html;
}

export const Formula = memo(function Formula({ tex, display = false, growing = false }) {
  const drawn = useDrawn(tex, display, growing);
  if (drawn === null || drawn?.length > MAX_DRAWN) {
    return (
      <code className="formula-source" dir="ltr">
        {tex}
      </code>
    );
  }
  if (drawn === undefined) {
    return <span className={display ? "formula formula-display" : "formula"} aria-busy="true" />;
  }
  return (
    <span
      className={display ? "formula formula-display" : "formula"}
      dir="ltr"
      tabIndex={display ? 0 : undefined}
      role={display ? "group" : undefined}
      aria-label={display ? "Formula" : undefined}
      dangerouslySetInnerHTML={{ __html: drawn }}
    />
  );
});
