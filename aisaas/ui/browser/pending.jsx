// What was requested and isn't answered yet, so that a button can't be pressed twice.
import { useEffect, useState } from "react";

const GIVE_UP_MS = 20000;

// [name, setName]: the name of what was requested, until a refusal arrives or the request times
// out.
export function usePending(refusal) {
  const [pending, setPending] = useState("");
  useEffect(() => setPending(""), [refusal]);
  useEffect(() => {
    if (!pending) return undefined;
    const timer = setTimeout(() => setPending(""), GIVE_UP_MS);
    return () => clearTimeout(timer);
  }, [pending]);
  return [pending, setPending];
}
