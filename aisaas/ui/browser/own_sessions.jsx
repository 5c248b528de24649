// Where somebody is signed in, and how to end it.
import { useRef, useState } from "react";
import { Problem, Said, goOn, post } from "$/components/own/forms.jsx";
import { leave } from "$/components/own/profile_forms.jsx";
import { When } from "$/components/own/when.jsx";

const SIGN_OUT = "/api/session/sign-out";

export function OwnSessions({ sessions, onChanged }) {
  const list = useRef(null);
  const asking = useRef(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [said, setSaid] = useState("");

  const end = async (action, fields, words) => {
    if (busy) return;
    setBusy(true);
    setProblem(null);
    setSaid("");
    const { ok, body } = await post(action, fields);
    setBusy(false);
    if (!ok && body.code === "unauthenticated") leave();
    else if (!ok) setProblem(body);
    else if (body.redirect) goOn("/login?notice=signed_out_everywhere");
    else {
      setSaid(words ?? body.message);
      onChanged();
      // The pressed button vanishes with its line.
      list.current?.focus();
    }
  };
  const others = sessions.filter((session) => !session.current);
  return (
    <div className="settings-form">
      <ul ref={list} tabIndex={-1} className="sessions" aria-label="Your sessions">
        {sessions.map((session) => (
          <li key={session.id}>
            <div>
              <p className="session-device">
                {session.device}
                {session.current && <span className="tag">This device</span>}
              </p>
              <p className="quiet">
                {session.opened} · <When at={session.opened_at} show="date" />
                {!session.current && (
                  <>
                    {" "}
                    · last used <When at={session.seen_at} show="ago" />
                  </>
                )}
              </p>
            </div>
            {!session.current && (
              <button
                type="button"
                className="button button-small"
                aria-label={`Sign out ${session.device}`}
                aria-disabled={busy}
                onClick={() =>
                  end("/api/session/end", { session: session.id }, `Signed out of ${session.device}.`)
                }
              >
                Sign out
              </button>
            )}
          </li>
        ))}
      </ul>
      <Problem problem={problem} />
      <Said>{said}</Said>
      <div className="row-of-buttons">
        {others.length > 0 && (
          <button
            type="button"
            className="button button-small"
            aria-disabled={busy}
            onClick={() => end(SIGN_OUT, { scope: "others" })}
          >
            Sign out other sessions
          </button>
        )}
        <button
          type="button"
          className="button button-small button-danger"
          aria-haspopup="dialog"
          onClick={() => asking.current.showModal()}
        >
          Sign out everywhere
        </button>
      </div>
      <dialog ref={asking} className="dialog" aria-labelledby="everywhere-title">
        <h3 id="everywhere-title">Sign out everywhere?</h3>
        <p>You'll be signed out of every session, including this one.</p>
        <div className="row-of-buttons">
          <button
            type="button"
            className="button"
            onClick={() => asking.current.close()}
          >
            Cancel
          </button>
          <button
            type="button"
            className="button button-danger"
            onClick={() => {
              asking.current.close();
              end(SIGN_OUT, { scope: "everywhere" });
            }}
          >
            Sign out everywhere
          </button>
        </div>
      </dialog>
    </div>
  );
}
