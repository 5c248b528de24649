// Forms that post to our routes. They are native; with scripts they go by fetch, keep what was typed, and show
// a refusal in place. `Sending` knows how far that is, for the forms and everything else inside it.
import { createContext, useContext, useEffect, useRef, useState } from "react";
import { useNewPassword } from "$/components/own/passwords.jsx";

const NO_ANSWER = {
  code: "unavailable",
  message: "We couldn't reach the server. Check your connection and try again.",
};
const HUMAN_FIRST = {
  code: "captcha_failed",
  message: "Complete the check that you're human first.",
};
const AGAIN_SECONDS = 60;
const OWN_PATH = /^\/(?![/\\])[^\\\s]*$/;

// Under the tab's token the server holds what this user saw.
export const forgetTab = () => window.sessionStorage.removeItem("token");

// A full page load, because the socket reads the session cookie only when it connects.
function goOn(path) {
  forgetTab();
  window.location.assign(OWN_PATH.test(path) ? path : "/chat");
}

async function post(action, fields) {
  try {
    const multipart = [...fields.values()].some((value) => value instanceof Blob);
    const response = await fetch(action, {
      method: "POST",
      body: multipart ? fields : new URLSearchParams(fields),
      headers: { Accept: "application/json" },
      credentials: "same-origin",
    });
    const body = await response.json();
    return { ok: response.ok, body: response.ok || body.message ? body : NO_ANSWER };
  } catch {
    return { ok: false, body: NO_ANSWER };
  }
}

const Context = createContext(null);
// The last answer came from `action`, about the address `email`; `taken` counts the answers, `attempt` the
// refusals, too.
const START = { busy: false, problem: null, attempt: 0, taken: 0, answer: null, action: "", email: "" };

// The same, with `send` and `back`, which forgets the answer.
export const useSending = () => useContext(Context);

// Who isn't signed in any more goes to `leave`.
export function Sending({ leave, onSent, children }) {
  const [state, setState] = useState(START);
  const sending = useRef(false);
  const change = (changes) => setState((now) => ({ ...now, ...changes }));
  // `found` are the fields, or a promise that fails with a problem. Returns whether they were taken.
  const send = async (action, found, { said, next } = {}) => {
    if (sending.current) return false;
    if (found instanceof FormData && found.get("captcha") === "") {
      change({ problem: HUMAN_FIRST });
      return false;
    }
    sending.current = true;
    change({ busy: true, problem: null });
    const fields = await found;
    const { ok, body } = fields.code ? { ok: false, body: fields } : await post(action, fields);
    const to = ok ? next || body.redirect : body.code === "unauthenticated" && leave;
    if (to) {
      goOn(to);
      return false;
    }
    sending.current = false;
    setState((now) => ({ ...now, busy: false, problem: ok ? null : body, attempt: now.attempt + 1 }));
    if (!ok) return false;
    const answer = { ...body, message: said ?? body.message };
    setState((now) => ({ ...now, taken: now.taken + 1, answer, action, email: fields.get("email") ?? "" }));
    onSent?.();
    return true;
  };
  const back = () => change({ answer: null, taken: 0 });
  return <Context.Provider value={{ ...state, send, back }}>{children}</Context.Provider>;
}

// A button with a `formaction` of its own sends the same fields there. What was sent is `said` to be done in
// these words, or leads to `next`; then what has the id `focus` gets the focus.
export function RouteForm({ action, said, next, focus, waits, className, children }) {
  const { send } = useSending();
  const onSubmit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const pressed = event.nativeEvent.submitter;
    if (waits || (pressed?.formNoValidate && !form.elements.email.reportValidity())) return;
    form.closest("dialog")?.close();
    const to = pressed?.getAttribute("formaction") || action;
    if (!(await send(to, new FormData(form), { said, next }))) return;
    form.reset();
    document.getElementById(focus)?.focus();
  };
  return (
    <form className={className} method="post" action={action} onSubmit={onSubmit}>
      {children}
    </form>
  );
}

// Sends what the form around it holds to another route. It isn't a submit button: Enter presses the first of those.
export function OtherRoute({ action, className, children }) {
  const { send } = useSending();
  const onClick = (event) => {
    const { form } = event.currentTarget;
    if (form.elements.email.reportValidity()) send(action, new FormData(form));
  };
  return (
    <button type="button" className={className} onClick={onClick}>
      {children}
    </button>
  );
}

// A heading that follows another screen in the same place has the focus: readers and keyboards begin there.
export function FollowingHeading({ children }) {
  const heading = useRef(null);
  useEffect(() => heading.current.focus(), []);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children}
    </h1>
  );
}

// Until a mail may be sent once more; `sent` counts those that were.
export function useSecondsLeft(sent) {
  const [left, setLeft] = useState(AGAIN_SECONDS);
  useEffect(() => {
    const begun = Date.now();
    const look = () => setLeft(Math.max(0, AGAIN_SECONDS - Math.floor((Date.now() - begun) / 1000)));
    look();
    const timer = setInterval(look, 1000);
    return () => clearInterval(timer);
  }, [sent]);
  return left;
}

// With a `product` it is for a new password, which may not be its name.
export function PasswordInput({ label, product, ...input }) {
  const [shown, setShown] = useState(false);
  const field = useNewPassword(product);
  return (
    <div className="field-with-button">
      <input
        required
        type={shown ? "text" : "password"}
        maxLength={256}
        autoCapitalize="none"
        autoCorrect="off"
        spellCheck={false}
        {...input}
        ref={field}
      />
      <button
        type="button"
        className="text-button"
        aria-pressed={shown}
        aria-label={`Show ${label.toLowerCase()}`}
        onClick={() => setShown(!shown)}
      >
        {shown ? "Hide" : "Show"}
      </button>
    </div>
  );
}
