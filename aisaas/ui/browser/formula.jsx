// A formula, drawn by KaTeX; its source where that can't be done.
import { memo, useEffect, useState } from "react";
import { known, offload } from "$/components/own/offload.js";

// What KaTeX makes of more than this takes a page too long to lay out.
const MAX_LENGTH = 2000;
const MAX_DRAWN = 200_000;

let styles;
const loadStyles = () => (styles ??= import("katex/dist/katex.min.css"));

// KaTeX's markup, null where there is none, undefined while it is being made.
function useDrawn(tex, display) {
  const [drawn, setDrawn] = useState(() =>
    tex.length > MAX_LENGTH ? null : known("formula", tex, display),
  );
  useEffect(() => {
    if (drawn !== undefined) return undefined;
    let wanted = true;
    Promise.all([offload("formula", tex, display), loadStyles()]).then(
      ([html]) => wanted && setDrawn(html),
      () => wanted && setDrawn(null),
    );
    return () => {
      wanted = false;
    };
  }, []);
  return drawn;
}

// Another formula is another component: give each its source as key.
export const Formula = memo(function Formula({ tex, display = false }) {
  const drawn = useDrawn(tex, display);
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
