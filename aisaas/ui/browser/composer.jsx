// Where one types. The text lives in the browser: drafts are kept per conversation, and a text
// leaves the box only when the server has accepted it. The address says which conversation that is: what
// the server shows follows it, a moment later.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useParams } from "react-router";

const GIVE_UP_MS = 20000;

const draftKey = (owner, conversation) => `draft.${owner}.${conversation || "new"}`;

const storage = {
  read: (key) => {
    try {
      return window.localStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  },
  write: (key, text) => {
    try {
      if (text) window.localStorage.setItem(key, text);
      else window.localStorage.removeItem(key);
    } catch {
      // A full or forbidden storage costs the draft, never the typing.
    }
  },
};

// `field-sizing: content` does this where it exists.
function grow(box) {
  if (!box || CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

// `begun` is set while a new conversation has no address yet, though it has its first message.
function useDraft(box, owner, conversation, begun) {
  const key = draftKey(owner, conversation);
  const shown = useRef(null);
  useLayoutEffect(() => {
    if (!owner) return;
    // It got its address: what was typed meanwhile moves with it.
    const typed = begun.current && shown.current === draftKey(owner, "") ? box.current.value : "";
    if (shown.current && shown.current !== key && typed) {
      storage.write(shown.current, "");
      storage.write(key, typed);
    }
    begun.current = false;
    if (shown.current !== null || !box.current.value) box.current.value = storage.read(key);
    shown.current = key;
    grow(box.current);
  }, [box, key, owner, begun]);
  return useCallback(
    (text) => {
      if (owner) storage.write(key, text);
    },
    [key, owner],
  );
}

export function Composer(props) {
  const { owner, model, models, reply, accepted, refusal, errors } = props;
  const { thread: conversation = "" } = useParams();
  const box = useRef(null);
  const pending = useRef(null);
  // What nobody has answered. Sent again it keeps its name, by which the server knows it.
  const unanswered = useRef(null);
  const [sending, setSending] = useState(false);
  const [empty, setEmpty] = useState(true);
  const begun = useRef(false);
  const saveDraft = useDraft(box, owner, conversation, begun);
  const streaming = reply?.status === "streaming";
  const connected = (errors?.length ?? 0) === 0;

  const typed = useCallback(() => {
    setEmpty(!box.current.value.trim());
    grow(box.current);
    saveDraft(box.current.value);
  }, [saveDraft]);

  useEffect(() => setEmpty(!box.current.value.trim()), [conversation, owner]);

  // Accepted: take out what was sent, keep what was typed after it.
  useLayoutEffect(() => {
    const sent = [pending.current, unanswered.current].find((each) => each?.nonce === accepted);
    if (!sent) return;
    if (sent === pending.current) {
      pending.current = null;
      setSending(false);
    }
    // An answer may also come after it was given up.
    if (unanswered.current?.nonce === accepted) unanswered.current = null;
    if (!sent.conversation) begun.current = true;
    const text = box.current.value;
    box.current.value = text.startsWith(sent.text) ? text.slice(sent.text.length).trimStart() : text;
    storage.write(draftKey(owner, ""), "");
    typed();
  }, [accepted, owner, typed]);

  useEffect(() => {
    const ours = ["*", pending.current?.nonce].includes(refusal?.nonce);
    if (pending.current && refusal?.code && ours) {
      pending.current = null;
      setSending(false);
    }
  }, [refusal]);

  useEffect(() => {
    // Without a connection what was sent waits in the page.
    if (!sending || !connected) return undefined;
    const timer = setTimeout(() => {
      unanswered.current = pending.current;
      pending.current = null;
      setSending(false);
    }, GIVE_UP_MS);
    return () => clearTimeout(timer);
  }, [sending, connected]);

  // On a touch screen the keyboard must not jump up by itself.
  useEffect(() => {
    if (window.matchMedia("(pointer: fine)").matches) box.current.focus({ preventScroll: true });
  }, [conversation]);

  const send = () => {
    const text = box.current.value;
    if (!text.trim() || streaming || pending.current) return;
    const before = unanswered.current;
    const again = before?.text === text && before.conversation === conversation;
    const nonce = again ? before.nonce : crypto.getRandomValues(new Uint32Array(4)).join("-");
    pending.current = { text, conversation, nonce };
    setSending(true);
    props.onSend(text, conversation, nonce, model);
    box.current.focus();
  };

  const onKeyDown = (event) => {
    // While a text is being composed (IME), Enter chooses a candidate.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    if (event.keyCode === 229) return;
    event.preventDefault();
    send();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={box}
        aria-label="Message"
        placeholder="Write a message"
        rows={1}
        onInput={typed}
        onKeyDown={onKeyDown}
        enterKeyHint="send"
      />
      <div className="composer-bar">
        <label className="model-picker">
          <span className="visually-hidden">Model</span>
          <select value={model} onChange={(event) => props.onModel(event.target.value)}>
            {(models ?? []).map((choice) => (
              <option key={choice.id} value={choice.id}>
                {choice.label}
              </option>
            ))}
          </select>
        </label>
        <span className="composer-hint" aria-hidden="true">
          <kbd>Enter</kbd> to send, <kbd>Shift</kbd> <kbd>Enter</kbd> for a new line
        </span>
        {streaming ? (
          <button
            type="button"
            className="round-button"
            aria-label="Stop"
            onClick={() => props.onStop(reply.id)}
          >
            <span className="icon icon-stop" aria-hidden="true" />
          </button>
        ) : (
          <button
            type="submit"
            className="round-button"
            aria-label="Send"
            aria-disabled={empty || sending}
            data-busy={sending}
          >
            <span className="icon icon-send" aria-hidden="true" />
          </button>
        )}
      </div>
    </form>
  );
}
