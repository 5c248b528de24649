// What the account forms share: fields, notices, and how a form is sent. Forms are native and lead to
// our routes; with scripts they go by fetch, keep what was typed, and show a refusal in place.
import { useRef, useState, useSyncExternalStore } from "react";
import { Captcha } from "$/components/own/captcha.jsx";
import { useNewPassword } from "$/components/own/passwords.jsx";
import { unchanging } from "$/components/own/site.jsx";

const NO_ANSWER = {
  code: "unavailable",
  message: "We couldn't reach the server. Check your connection and try again.",
};
const HUMAN_FIRST = {
  code: "captcha_failed",
  message: "Complete the check that you're human first.",
};

export const ownPath = (path) => (/^\/(?![/\\])[^\\\s]*$/.test(path ?? "") ? path : "/chat");

// A full page load, because the socket reads the session cookie only when it connects. The previous user
// of this tab left a state on the server under its token.
export function goOn(path) {
  window.sessionStorage.removeItem("token");
  window.location.assign(ownPath(path));
}

export async function post(action, fields) {
  try {
    const multipart = fields instanceof FormData && [...fields.values()].some((v) => v instanceof Blob);
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

// One form's sending: `busy` while it is on its way, `problem` after a refusal. `attempt` counts.
export function useSending(captcha) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [attempt, setAttempt] = useState(0);
  const sending = useRef(false);
  const send = async (action, fields) => {
    if (sending.current) return null;
    if (captcha && !new URLSearchParams(fields).get("captcha")) {
      setProblem(HUMAN_FIRST);
      return null;
    }
    sending.current = true;
    setBusy(true);
    setProblem(null);
    const { ok, body } = await post(action, fields);
    if (ok && body.redirect) {
      goOn(body.redirect);
      return null;
    }
    sending.current = false;
    setBusy(false);
    setAttempt((count) => count + 1);
    if (ok) return body;
    setProblem(body);
    return null;
  };
  return { busy, problem, attempt, send, setProblem };
}

export const useQuery = () =>
  useSyncExternalStore(unchanging, () => window.location.search, () => "");

// Whether this is what was built, which is the same for everybody: the stylesheet chooses from it.
export const useBuilt = () => useSyncExternalStore(unchanging, () => false, () => true);

export function Problem({ problem, children }) {
  if (!problem) return null;
  return (
    <div className="alert" role="alert" data-code={problem.code}>
      <p>{problem.message}</p>
      {children}
    </div>
  );
}

// In the page before it says anything, or it would not be announced.
export function Said({ children }) {
  return (
    <div className="said" role="status">
      {children && <p className="note">{children}</p>}
    </div>
  );
}

export function Check({ site, attempt }) {
  return site.captcha ? <Captcha captcha={site.captcha} attempt={attempt} /> : null;
}

export function Submit({ busy, children, busyText, small }) {
  return (
    <button
      className={small ? "button" : "button button-primary button-wide"}
      type="submit"
      aria-disabled={busy}
    >
      {busy ? busyText : children}
    </button>
  );
}

export function Field({ label, hint, id, ...input }) {
  const name = id ?? `field-${input.name}`;
  return (
    <div className="field">
      <label htmlFor={name}>{label}</label>
      <input id={name} required aria-describedby={hint ? `${name}-hint` : undefined} {...input} />
      {hint && (
        <p id={`${name}-hint`} className="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

export function PasswordField({ label, hint, id, inputRef, ...input }) {
  const [shown, setShown] = useState(false);
  const name = id ?? `field-${input.name}`;
  return (
    <div className="field">
      <label htmlFor={name}>{label}</label>
      <div className="field-with-button">
        <input
          id={name}
          ref={inputRef}
          required
          type={shown ? "text" : "password"}
          autoCapitalize="none"
          autoCorrect="off"
          spellCheck={false}
          aria-describedby={hint ? `${name}-hint` : undefined}
          {...input}
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
      {hint && (
        <p id={`${name}-hint`} className="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

// For password managers: whose password this form changes.
export function Username({ email }) {
  return (
    <input
      className="visually-hidden"
      type="email"
      name="username"
      autoComplete="username"
      value={email ?? ""}
      readOnly
      tabIndex={-1}
      aria-hidden="true"
    />
  );
}

export function NewPasswordField({ product, ...input }) {
  const field = useNewPassword(product);
  return (
    <PasswordField
      inputRef={field}
      name="new_password"
      autoComplete="new-password"
      maxLength={256}
      hint="8 to 72 characters. A short sentence works well. Accented and non-Latin letters count as two or more."
      {...input}
    />
  );
}
