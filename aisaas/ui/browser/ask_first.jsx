// Before an admin changes something: what exactly, and why. The reason goes into the audit log. What was
// typed stays through a refusal, which is shown where one looks.
import { useEffect, useId, useRef, useState } from "react";
import { flushSync } from "react-dom";

const GIVE_UP_MS = 20000;
const NO_ANSWER = {
  code: "no_answer",
  sentence: "The server didn't respond. Check whether it was done before you try again.",
};

function Input({ id, field }) {
  const { name, type, value, options, required, min, max, step } = field;
  const described = field.hint ? `${id}-hint` : undefined;
  if (type === "select") {
    return (
      <select id={id} name={name} defaultValue={value} aria-describedby={described}>
        {(options ?? []).map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    );
  }
  return (
    <input
      id={id}
      name={name}
      type={type ?? "text"}
      defaultValue={value ?? ""}
      required={required ?? false}
      min={min}
      max={max}
      step={step}
      maxLength={type === "number" ? undefined : 200}
      autoComplete="off"
      aria-describedby={described}
    />
  );
}

function Check({ id, field }) {
  return (
    <label className="choice" htmlFor={id}>
      <input id={id} name={field.name} type="checkbox" value="yes" defaultChecked={field.value === "yes"} />
      {field.label}
    </label>
  );
}

function Labelled({ field, children, id }) {
  return (
    <div className="field">
      {children[0]}
      {children[1]}
      {field.hint && (
        <p id={`${id}-hint`} className="hint">
          {field.hint}
        </p>
      )}
    </div>
  );
}

// From the question to its answer: `acted` has grown, or something was refused. A server that forgot
// this tab counts from the beginning, and doesn't know the answer.
function useAnswer(acted, refusal, onDone) {
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState(null);
  const from = useRef(null);
  const before = useRef(null);
  const ask = (go) => {
    if (from.current !== null) return;
    from.current = acted;
    before.current = refusal;
    setRefused(null);
    setBusy(true);
    go();
  };
  const end = () => {
    from.current = null;
    setBusy(false);
  };
  const giveUp = () => {
    end();
    setRefused(NO_ANSWER);
  };
  useEffect(() => {
    if (from.current === null) return;
    if (acted > from.current) {
      end();
      onDone();
    } else if (acted < from.current) {
      giveUp();
    } else if (refusal?.code && refusal !== before.current) {
      end();
      setRefused(refusal);
    }
  }, [acted, refusal]);
  useEffect(() => {
    const timer = busy ? setTimeout(giveUp, GIVE_UP_MS) : undefined;
    return () => clearTimeout(timer);
  }, [busy]);
  return { busy, refused, ask, forget: () => setRefused(null) };
}

export function AskFirst(props) {
  const { label, title, explanation, confirm, danger, small, fields, subject, refusal, acted, onConfirm } = props;
  const dialog = useRef(null);
  const form = useRef(null);
  const id = useId();
  // A table has one of these in each row: their fields are there once they are asked for.
  const [opened, setOpened] = useState(false);
  const { busy, refused, ask, forget } = useAnswer(acted, refusal, () => {
    dialog.current.close();
    form.current.reset();
  });
  const onSubmit = (event) => {
    event.preventDefault();
    // The page may listen to its own forms.
    event.stopPropagation();
    const answers = Object.fromEntries(new FormData(form.current));
    ask(() => onConfirm({ ...answers, subject: subject ?? "" }));
  };
  const tone = danger ? " button-danger" : "";
  return (
    <>
      <button
        type="button"
        className={small ? `button button-small${tone}` : `button${tone}`}
        aria-haspopup="dialog"
        onClick={() => {
          forget();
          // What is to get the focus has to be there.
          flushSync(() => setOpened(true));
          dialog.current.showModal();
        }}
      >
        {label}
      </button>
      <dialog ref={dialog} className="dialog" aria-labelledby={`${id}-title`}>
        <form ref={form} className="dialog-form" onSubmit={onSubmit}>
          <h3 id={`${id}-title`}>{title}</h3>
          {explanation && <p>{explanation}</p>}
          {(opened ? (fields ?? []) : []).map((field) => {
            const own = `${id}-${field.name}`;
            if (field.type === "checkbox") return <Check key={`${field.name} ${field.value ?? ""}`} id={own} field={field} />;
            return (
              <Labelled key={`${field.name} ${field.value ?? ""}`} id={own} field={field}>
                <label htmlFor={own}>{field.label}</label>
                <Input id={own} field={field} />
              </Labelled>
            );
          })}
          <div className="field">
            <label htmlFor={`${id}-reason`}>Reason</label>
            <textarea
              id={`${id}-reason`}
              name="reason"
              rows={2}
              required
              minLength={3}
              maxLength={500}
              aria-describedby={`${id}-reason-hint`}
            />
            <p id={`${id}-reason-hint`} className="hint">
              Saved in the audit log.
            </p>
          </div>
          {refused && (
            <div className="alert" role="alert" data-code={refused.code}>
              <p className="alert-text">{refused.sentence}</p>
            </div>
          )}
          <div className="row-of-buttons">
            <button type="button" className="button" onClick={() => dialog.current.close()}>
              Cancel
            </button>
            <button
              type="submit"
              className={danger ? "button button-danger" : "button button-primary"}
              aria-disabled={busy}
              aria-live="polite"
            >
              {busy ? "One moment…" : confirm}
            </button>
          </div>
        </form>
      </dialog>
    </>
  );
}
