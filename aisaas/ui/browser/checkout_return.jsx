// The way back from paying. What the address says is no proof, so it only starts a look-out; what is
// shown afterwards is what the server has found. The address is cleaned at once.
import { useEffect, useState } from "react";

const WAITING = "Payment received. Your plan is being set up…";
const LATE =
  "Your payment hasn’t been confirmed to us yet. Nothing is lost: it usually takes seconds, sometimes " +
  "minutes. Load this page again a little later. If your plan still isn’t here then, write to support.";
const CANCELLED = "You left before paying. Nothing was charged and nothing has changed.";

export function CheckoutReturn({ stage, plan, onDone }) {
  const [back, setBack] = useState("");
  useEffect(() => {
    const address = new URL(window.location.href);
    const said = address.searchParams.get("checkout");
    if (!said) return;
    address.searchParams.delete("checkout");
    window.history.replaceState(window.history.state, "", address.pathname + address.search);
    setBack(said);
  }, []);
  const paid = back === "done";
  useEffect(() => {
    // Also when the server has forgotten it meanwhile.
    if (paid && !stage) onDone();
  }, [paid, stage, onDone]);
  const words = {
    waiting: paid ? WAITING : "Your plan is being changed…",
    done: `You are on ${plan}.`,
    late: paid ? LATE : "The change hasn’t arrived here yet. Load this page again a little later.",
    "": paid ? WAITING : back === "cancelled" ? CANCELLED : "",
  }[stage ?? ""];
  return (
    <div className="said" role="status">
      {words && (
        <p className={stage === "late" ? "note note-late" : back === "cancelled" ? "note note-quiet" : "note"}>
          {words}
        </p>
      )}
    </div>
  );
}
