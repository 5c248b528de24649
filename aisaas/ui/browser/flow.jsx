// A growing text, let out over the next animation frames, so that it flows instead of jerking with each
// piece that arrives.
import { useEffect, useRef, useState } from "react";

// What arrives is shown after this time at the latest. Pieces come every 40 ms, and later when the
// network or the server is busy.
const SPREAD_MS = 60;
// A tab that was in the background has no frames; it continues with one of this length.
const LONGEST_FRAME_MS = 100;

const wantsNoMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Not between the two halves of a character.
function cutAt(text, end) {
  const half = text.charCodeAt(end - 1);
  return half >= 0xd800 && half <= 0xdbff ? end + 1 : end;
}

// The part of `text` to show now: all of it, unless it is `flowing`.
export function useFlow(text, flowing) {
  const [end, setEnd] = useState(text.length);
  // `waiting` are the ends of pieces and when each has to be shown.
  const flow = useRef({ end: text.length, waiting: [], frame: 0, last: 0 }).current;
  useEffect(() => {
    if (!flowing || wantsNoMotion()) {
      cancelAnimationFrame(flow.frame);
      Object.assign(flow, { end: text.length, waiting: [], frame: 0 });
      setEnd(text.length);
      return;
    }
    const known = flow.waiting.at(-1)?.end ?? flow.end;
    if (text.length <= known) return;
    flow.waiting.push({ end: text.length, due: performance.now() + SPREAD_MS });
    const step = (now) => {
      const took = Math.min(Math.max(now - flow.last, 1), LONGEST_FRAME_MS);
      flow.last = now;
      const shares = flow.waiting.map(
        (piece) => ((piece.end - flow.end) * took) / Math.max(piece.due - now, took),
      );
      flow.end += Math.ceil(Math.max(...shares));
      flow.waiting = flow.waiting.filter((piece) => piece.end > flow.end);
      flow.frame = flow.waiting.length > 0 ? requestAnimationFrame(step) : 0;
      setEnd(flow.end);
    };
    if (!flow.frame) {
      flow.last = performance.now();
      flow.frame = requestAnimationFrame(step);
    }
  }, [text, flowing, flow]);
  useEffect(
    () => () => {
      cancelAnimationFrame(flow.frame);
      flow.frame = 0;
    },
    [flow],
  );
  return flowing ? text.slice(0, cutAt(text, end)) : text;
}
