// The way back from paying. What the address says is no proof, so it only starts a look-out; what is
// shown afterwards is what the server has found. The address is cleaned at once.
import { useEffect, useState } from "react";

const WAITING = "Payment received. Your plan is being set up…";
const LATE =
  "Your payment hasn’t been confirmed to us yet. Nothing is lost: it usually takes seconds, sometimes " +
  "minutes. Load this page again a little later. If your plan still isn’t here then, write to support.";
const CHANGING = "Your plan is being changed…";
const CHANGE_LATE = "The change hasn’t arrived here yet. Load this page again a little later.";
const CANCELLED = "You left before paying. Nothing was charged and nothing has changed.";

const words = (stage, back, plan) => {
  if (stage === "done") return `You are on ${plan}.`;
  if (stage === "late") return back === "done" ? LATE : CHANGE_LATE;
  if (back === "done") return WAITING;
  if (stage === "waiting") return CHANGING;
  return back === "cancelled" ? CANCELLED : "";
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
  // The server may have forgotten it meanwhile: then it is told again.
  const ask = back === "done" && !stage;
  useEffect(() => {
    if (ask) onDone();
  }, [ask]);
  useEffect(() => setClosed(false), [stage]);
  const said = closed ? "" : words(stage, back, plan);
  const over = stage === "done" || stage === "late" || !(stage || back === "done");
  const close = () => {
    setBack("");
    setClosed(true);
  };
  const kind = stage === "late" ? "note note-late" : stage || back === "done" ? "note" : "note note-quiet";
  return (
    <div className="said" role="status">
      {said && (
        <div className={kind}>
          <p>{said}</p>
          {over && (
            <button type="button" className="icon-button" aria-label="Close" onClick={close}>
              <span className="icon icon-close" aria-hidden="true" />
            </button>
          )}
        </div>
      )}
    </div>
  );
}
