// The spending cap. What is wrong with an amount is said beside the field, and nothing typed is lost.
import { useEffect, useState } from "react";
import { Said } from "$/components/own/forms.jsx";

const AMOUNT = /^\$?\s*\d{1,7}(\.\d{1,2})?$/;
const NOT_MONEY = "Enter an amount in USD, like 25 or 12.50.";

export function CapForm({ value, own, standard, problem, saved, onSave, onReset }) {
  const [typed, setTyped] = useState(value);
  const [wrong, setWrong] = useState("");
  const [asked, setAsked] = useState(0);
  useEffect(() => setTyped(value), [value, saved]);
  const said = wrong || problem;
  const onSubmit = (event) => {
    event.preventDefault();
    const amount = typed.trim();
    const bad = AMOUNT.test(amount) ? "" : NOT_MONEY;
    setWrong(bad);
    if (bad) return;
    setAsked(saved + 1);
    onSave(amount);
  };
  const reset = () => {
    setWrong("");
    setAsked(saved + 1);
    onReset();
  };
  return (
    <form className="settings-form" onSubmit={onSubmit} noValidate>
      <div className="field cap-field">
        <label htmlFor="cap">Spending cap in USD</label>
        <input
          id="cap"
          type="text"
          inputMode="decimal"
          autoComplete="off"
          maxLength={12}
          value={typed}
          aria-invalid={said !== ""}
          aria-describedby="cap-said"
          onChange={(event) => {
            setTyped(event.target.value);
            setWrong("");
            setAsked(0);
          }}
        />
        <p id="cap-said" className={said ? "field-problem" : "hint"} role={said ? "alert" : undefined}>
          {said || "Set to 0 to turn off extra usage."}
        </p>
      </div>
      <div className="row-of-buttons">
        <button type="submit" className="button">
          Save cap
        </button>
        {own && (
          <button type="button" className="text-button" onClick={reset}>
            Use the plan's default, {standard}
          </button>
        )}
      </div>
      <Said>{asked > 0 && saved >= asked && !said && "Saved. Applies from your next message."}</Said>
    </form>
  );
}
