// Buttons that open a native dialog, which takes the focus and gives it back.
import { useEffect, useId, useRef, useState } from "react";
import { flushSync } from "react-dom";

const GIVE_UP_MS = 20000;
const NO_ANSWER = {
  code: "no_answer",
  sentence: "The server didn't respond. Check whether it was done before you try again.",
};

export const closeDialog = (event) => event.currentTarget.closest("dialog").close();

// One that `waits` opens nothing.
export function Dialog({ label, title, className, children, opener, onOpen, waits }) {
  const own = useRef(null);
  const dialog = opener ?? own;
  const id = useId();
  const open = () => {
    if (waits) return;
    onOpen?.();
    dialog.current.showModal();
  };
  return (
    <>
      <button
        type="button"
        className={className}
        aria-haspopup="dialog"
        aria-disabled={waits}
        aria-live={waits === undefined ? undefined : "polite"}
        onClick={open}
      >
        {label}
      </button>
      <dialog ref={dialog} className="dialog" aria-labelledby={id}>
        <h3 id={id}>{title}</h3>
        {children}
      </dialog>
    </>
  );
}

// From the question to its answer: `acted` has grown, or something was refused. A server that forgot
// this tab counts from the beginning, and doesn't know the answer.
function useAnswer(acted, refusal, onDone) {
  const [asked, setAsked] = useState(null);
  const [refused, setRefused] = useState(null);
  const end = (why) => {
    setAsked(null);
    setRefused(why);
  };
  useEffect(() => {
    if (!asked) return;
    if (acted > asked.acted) {
      end(null);
      onDone();
    } else if (acted < asked.acted) {
      end(NO_ANSWER);
    } else if (refusal?.code && refusal !== asked.refusal) {
      end(refusal);
    }
  }, [acted, refusal]);
  useEffect(() => {
    const timer = asked ? setTimeout(() => end(NO_ANSWER), GIVE_UP_MS) : undefined;
    return () => clearTimeout(timer);
  }, [asked]);
  const forget = () => setRefused(null);
  const ask = () => {
    forget();
    setAsked({ acted, refusal });
  };
  return { busy: asked !== null, refused, ask, forget };
}

// Asks an admin for the details and the reason of a change. Typed text survives a refusal, which is
// shown in the dialog.
export function ConfirmDialog({ label, title, className, confirm, danger, subject, refusal, acted, onConfirm, children }) {
  const dialog = useRef(null);
  const form = useRef(null);
  // A table has one of these per row, so the fields render only once it is opened.
  const [opened, setOpened] = useState(false);
  const { busy, refused, ask, forget } = useAnswer(acted, refusal, () => {
    dialog.current.close();
    form.current.reset();
  });
  const onSubmit = (event) => {
    event.preventDefault();
    // The page may listen to its own forms.
    event.stopPropagation();
    if (busy) return;
    ask();
    onConfirm({ ...Object.fromEntries(new FormData(form.current)), subject: subject ?? "" });
  };
  const onOpen = () => {
    forget();
    // The element that gets the focus has to exist.
    flushSync(() => setOpened(true));
  };
  return (
    <Dialog label={label} title={title} className={className} opener={dialog} onOpen={onOpen}>
      <form ref={form} className="dialog-form" onSubmit={onSubmit}>
        {opened && children}
        {refused && (
          <div className="alert" role="alert" data-code={refused.code}>
            <p className="alert-text">{refused.sentence}</p>
          </div>
        )}
        <div className="row-of-buttons">
          <button type="button" className="button" onClick={closeDialog}>
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
    </Dialog>
  );
}
