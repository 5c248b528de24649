// A button that leads to the payment page, or asks for confirmation (`title`, `children`) before it
// acts. A double press acts once; its label shows progress until the page is left, or until a
// refusal or a return (`arriving`) resets it.
import { useEffect, useRef, useState } from "react";
import { closeDialog, Dialog } from "$/components/own/dialog.jsx";

const GIVE_UP_MS = 20000;

function useOpening(refusal, done) {
  const [opening, setOpening] = useState(false);
  const pressed = useRef(false);
  const end = () => {
    pressed.current = false;
    setOpening(false);
  };
  const open = (go) => {
    if (pressed.current) return;
    pressed.current = true;
    setOpening(true);
    go();
  };
  useEffect(end, [refusal?.code && refusal, done]);
  useEffect(() => {
    // A page that is shown from the browser's memory is as it was left.
    window.addEventListener("pageshow", end);
    const timer = opening ? setTimeout(end, GIVE_UP_MS) : undefined;
    return () => {
      window.removeEventListener("pageshow", end);
      clearTimeout(timer);
    };
  }, [opening]);
  return { opening, open };
}

export function PayButton({ label, whileOpening, className, refusal, arriving, title, onPress, children }) {
  const { opening, open } = useOpening(refusal, arriving);
  const shown = { label: opening ? whileOpening : label, className, waits: opening };
  if (!title) return <Opener {...shown} onClick={() => open(onPress)} />;
  return (
    <Dialog {...shown} title={title}>
      {children}
      <div className="row-of-buttons">
        <button type="button" className="button" onClick={closeDialog}>
          Keep current plan
        </button>
        <button
          type="button"
          className="button button-primary"
          onClick={(event) => {
            closeDialog(event);
            open(onPress);
          }}
        >
          {label}
        </button>
      </div>
    </Dialog>
  );
}

const Opener = ({ label, waits, className, onClick }) => (
  <button type="button" className={className} aria-disabled={waits} aria-live="polite" onClick={onClick}>
    {label}
  </button>
);
