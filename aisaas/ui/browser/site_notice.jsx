// What the page before this one has done, said once: the address carries only a code.
import { useEffect, useState } from "react";
import { addressOf } from "$/components/own/site.js";

const SHOWN_MS = 8000;

export function SiteNotice() {
  const [said, setSaid] = useState("");
  useEffect(() => {
    const { problem, notice } = addressOf(window.location.search);
    if (!problem && !notice) return undefined;
    setSaid(problem?.message ?? notice);
    const address = new URL(window.location.href);
    address.searchParams.delete("notice");
    address.searchParams.delete("error");
    window.history.replaceState(window.history.state, "", address.pathname + address.search);
    if (problem) return undefined;
    const timer = setTimeout(() => setSaid(""), SHOWN_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="toast" role="status" data-shown={said !== ""}>
      {said && (
        <>
          <span className="toast-words">{said}</span>
          <button type="button" className="text-button" onClick={() => setSaid("")}>
            Close
          </button>
        </>
      )}
    </div>
  );
}
