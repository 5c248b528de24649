// What the server was asked for and hasn't answered yet, so that a button isn't pressed twice.
import { useEffect, useState } from "react";

const GIVE_UP_MS = 20000;

// [name, setName]: the name of what was requested, until a refusal arrives or the request times
// out.
export function useAsked(refusal) {
  const [asked, setAsked] = useState("");
  useEffect(() => setAsked(""), [refusal]);
  useEffect(() => {
    if (!asked) return undefined;
    const timer = setTimeout(() => setAsked(""), GIVE_UP_MS);
    return () => clearTimeout(timer);
  }, [asked]);
  return [asked, setAsked];
}
