// What a key means where text is typed.
import { useSyncExternalStore } from "react";

// An on-screen keyboard has no Shift+Enter. Matches fingers, and pens that can't hover.
const TOUCH = "(pointer: coarse), (pointer: fine) and (hover: none)";

// The key belongs to an input method that is composing text. Safari reports it after the composition
// has ended; there only the code 229 gives it away.
export const isComposing = (event) => event.nativeEvent.isComposing || event.keyCode === 229;

function onTouchChange(listener) {
  const query = window.matchMedia(TOUCH);
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

export const useTouch = () =>
  useSyncExternalStore(
    onTouchChange,
    () => window.matchMedia(TOUCH).matches,
    () => false,
  );
