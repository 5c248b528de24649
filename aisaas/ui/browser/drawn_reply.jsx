// Actions on a reply as it is drawn: copying it with its formatting, and reading it aloud.
import { useEffect, useState } from "react";
import { Action } from "$/components/own/action.jsx";

const COPIED_MS = 1600;
const CONTROLS = "button, .code-head, [aria-hidden=true]";

// The reply without its controls; of a formula, what stands for it in other programs.
function drawn(button) {
  const copy = button.closest("article").querySelector(".prose").cloneNode(true);
  for (const part of copy.querySelectorAll(CONTROLS)) part.remove();
  return copy;
}

export function CopyRichText({ markdown }) {
  const [copied, setCopied] = useState(false);
  const copy = async ({ currentTarget }) => {
    const as = (type, text) => ({ [type]: new Blob([text], { type }) });
    const both = { ...as("text/html", drawn(currentTarget).innerHTML), ...as("text/plain", markdown) };
    try {
      await navigator.clipboard.write([new ClipboardItem(both)]);
      setCopied(true);
      setTimeout(() => setCopied(false), COPIED_MS);
    } catch {
      setCopied(false);
    }
  };
  return <Action label="Copy as rich text" icon={copied ? "check" : "rich"} onClick={copy} />;
}

// Paragraph by paragraph: some browsers stop in the middle of a long text.
export function ReadAloud() {
  const [reading, setReading] = useState(false);
  useEffect(() => {
    if (!reading) return undefined;
    return () => window.speechSynthesis.cancel();
  }, [reading]);
  if (!("speechSynthesis" in window)) return null;
  const toggle = ({ currentTarget }) => {
    // Another reply may be read: its button hears of it as an error.
    window.speechSynthesis.cancel();
    if (reading) {
      setReading(false);
      return;
    }
    const parts = [...drawn(currentTarget).children].filter((part) => part.textContent.trim());
    for (const part of parts) {
      const speech = new SpeechSynthesisUtterance(part.textContent);
      speech.onerror = () => setReading(false);
      if (part === parts.at(-1)) speech.onend = () => setReading(false);
      window.speechSynthesis.speak(speech);
    }
    setReading(parts.length > 0);
  };
  return <Action label={reading ? "Stop reading" : "Read aloud"} icon={reading ? "stop" : "speaker"} onClick={toggle} />;
}
