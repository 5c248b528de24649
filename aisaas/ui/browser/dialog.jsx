// A button that opens a native dialog, which takes the focus and gives it back.
import { useId, useRef } from "react";

export const closeDialog = (event) => event.currentTarget.closest("dialog").close();

// One that `waits` opens nothing.
export function Dialog({ label, title, className, waits, children }) {
  const dialog = useRef(null);
  const id = useId();
  return (
    <>
      <button
        type="button"
        className={className}
        aria-haspopup="dialog"
        aria-disabled={waits}
        aria-live={waits === undefined ? undefined : "polite"}
        onClick={() => waits || dialog.current.showModal()}
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
