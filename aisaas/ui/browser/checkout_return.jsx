// The way back from paying. What the address says is no proof, so it only starts a look-out; what is
// shown afterwards is what the server has found. The address is cleaned at once.
import { useEffect, useState } from "react";

const WAITING = "Setting up your plan…";
const BACK = `Checkout is complete. ${WAITING}`;
const LATE =
  "Your payment went through, but your plan isn't active yet. This can take a few minutes. Reload this page " +
  "later. If it's still missing, contact support.";
const CANCELLED = "You left Checkout. You weren't charged, and your plan hasn't changed.";

const words = (stage, back, plan) => {
  if (back === "cancelled") return CANCELLED;
  if (stage === "done") return `You're on ${plan}.`;
  if (stage === "late") return LATE;
  if (back === "done") return BACK;
  return stage === "waiting" ? WAITING : "";
};

export function CheckoutReturn({ stage, plan, onDone }) {
  const [back, setBack] = useState("");
  const [closed, setClosed] = useState(false);
  useEffect(() => {
    const address = new URL(window.location.href);
    const said = address.searchParams.get("checkout");
    if (!said) return;
    address.searchParams.delete("checkout");
    window.history.replaceState(window.history.state, "", address.pathname + address.search);
    setBack(said);
  }, []);
  // The server may have forgotten it meanwhile: then send it again.
  const ask = back === "done" && !stage;
  useEffect(() => {
    if (ask) onDone();
  }, [ask]);
  useEffect(() => setClosed(false), [stage]);
  const said = closed ? "" : words(stage, back, plan);
  const cancelled = back === "cancelled";
  const waiting = !cancelled && stage !== "done" && stage !== "late";
  const close = () => {
    setBack("");
    setClosed(true);
  };
  const kind = cancelled ? "note note-quiet" : stage === "late" ? "note note-late" : "note";
  return (
    <div className="said" role="status">
      {said && (
        <div className={kind}>
          <p>{said}</p>
          {!waiting && (
            <button type="button" className="icon-button" aria-label="Close" onClick={close}>
              <span className="icon icon-close" aria-hidden="true" />
            </button>
          )}
        </div>
      )}
    </div>
  );
}
