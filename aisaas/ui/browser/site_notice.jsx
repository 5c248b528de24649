// What the page before this one has done, said once: the address carries only a code.
import { useEffect, useState } from "react";
import { saidIn } from "$/components/own/sentences.jsx";

const SHOWN_MS = 8000;

export function SiteNotice() {
  const [said, setSaid] = useState(null);
  useEffect(() => {
    const { problem, notice } = saidIn(window.location.search);
    if (!problem && !notice) return undefined;
    setSaid(problem ?? notice);
    const address = new URL(window.location.href);
    address.searchParams.delete("notice");
    address.searchParams.delete("error");
    window.history.replaceState(window.history.state, "", address.pathname + address.search);
    if (problem) return undefined;
    const timer = setTimeout(() => setSaid(null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="toast" role="status" data-shown={said !== null}>
      {said && (
        <>
          <span className="toast-words">{said.message}</span>
          <button type="button" className="text-button" onClick={() => setSaid(null)}>
            Close
          </button>
        </>
      )}
    </div>
  );
}
