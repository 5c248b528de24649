import { useCallback, useState } from "react";

const COPIED_MS = 1600;

export function CopyButton({ label, text }) {
  const [copied, setCopied] = useState(false);
  const onClick = useCallback(async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
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
