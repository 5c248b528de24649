// A line of the allowance or of the cap that was reached. Dismissed, it stays away until the next line.
import { useEffect, useState } from "react";

const KEY = "near";

function dismissed() {
  try {
    return window.localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function NearNotice({ owner, near, href }) {
  const [gone, setGone] = useState(null);
  useEffect(() => setGone(dismissed()), []);
  const name = `${owner} ${near?.key}`;
  const shown = near?.key && gone !== name;
  const dismiss = () => {
    setGone(name);
    try {
      window.localStorage.setItem(KEY, name);
    } catch {
      // Then it comes back with the next page.
    }
  };
  return (
    <div role="status" className="near-frame">
      {shown && (
        <div className="near" data-level={near.level}>
          <p className="alert-text">
            {near.sentence} <a href={href}>Plan and billing</a>
          </p>
          <button type="button" className="icon-button" aria-label="Dismiss this notice" onClick={dismiss}>
            <span className="icon icon-close" aria-hidden="true" />
          </button>
        </div>
      )}
    </div>
  );
}
