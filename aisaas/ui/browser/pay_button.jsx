// Buttons that lead to where one pays. Pressed twice they go once; the name says that something is
// happening until the page is left, or until a refusal or the way back brings them back.
import { useEffect, useRef, useState } from "react";

const GIVE_UP_MS = 20000;

function useOpening(refusal, done) {
  const [opening, setOpening] = useState(false);
  const pressed = useRef(false);
  const open = (go) => {
    if (pressed.current) return;
    pressed.current = true;
    setOpening(true);
    go();
  };
  useEffect(() => {
    pressed.current = false;
    setOpening(false);
  }, [refusal?.code && refusal, done]);
  useEffect(() => {
    const again = () => {
      pressed.current = false;
      setOpening(false);
    };
    // A page that is shown from the browser's memory is as it was left.
    window.addEventListener("pageshow", again);
    const timer = opening ? setTimeout(again, GIVE_UP_MS) : undefined;
    return () => {
      window.removeEventListener("pageshow", again);
      clearTimeout(timer);
    };
  }, [opening]);
  return { opening, open };
}

export function PayButton({ label, kind, refusal, onPress }) {
  const { opening, open } = useOpening(refusal);
  return (
    <button
      type="button"
      className={kind === "primary" ? "button button-primary" : kind === "small" ? "button button-small" : "button"}
      aria-disabled={opening}
      aria-live="polite"
      onClick={() => open(onPress)}
    >
      {opening ? "Opening…" : label}
    </button>
  );
}

export function SwitchButton({ label, title, explanation, arriving, refusal, onSwitch }) {
  const asking = useRef(null);
  const { opening, open } = useOpening(refusal, arriving);
  return (
    <>
      <button
        type="button"
        className="button"
        aria-haspopup="dialog"
        aria-disabled={opening}
        aria-live="polite"
        onClick={() => !opening && asking.current.showModal()}
      >
        {opening ? "Switching…" : label}
      </button>
      <dialog ref={asking} className="dialog" aria-label={title}>
        <h3>{title}</h3>
        <p>{explanation}</p>
        <div className="row-of-buttons">
          <button type="button" className="button" onClick={() => asking.current.close()}>
            Keep current plan
          </button>
          <button
            type="button"
            className="button button-primary"
            onClick={() => {
              asking.current.close();
              open(onSwitch);
            }}
          >
            {label}
          </button>
        </div>
      </dialog>
    </>
  );
}
