// Where people type. The text lives in the browser: drafts are kept per conversation, and a text
// leaves the box only when the server has accepted it. The address says which conversation that is: what
// the server shows follows it, a moment later.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useParams } from "react-router";
import { clearSent, draftKey, readDraft, saveDraft, watchDrafts, without } from "$/components/own/drafts.jsx";
import { count } from "$/components/own/formats.jsx";
import { isComposing, useTouch } from "$/components/own/keys.jsx";

const GIVE_UP_MS = 20000;
const STILL_REPLYING = "Not sent: a reply is still running. Wait until it ends, or press Stop first.";
const STILL_SENDING = "Not sent yet: your previous message is still on its way.";

// Characters as the server counts them: code points, not UTF-16 units.
function countCharacters(text) {
  let characters = text.length;
  for (let n = 0; n < text.length; n += 1) {
    if (text.codePointAt(n) > 0xffff) {
      characters -= 1;
      n += 1;
    }
  }
  return characters;
}

// `field-sizing: content` does this where it exists.
function grow(box) {
  if (!box || CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

// `begun` holds the first message of a new conversation that has no address yet.
function useDraft(box, owner, conversation, begun) {
  const key = draftKey(owner, conversation);
  const shown = useRef(null);
  useLayoutEffect(() => {
    if (!owner) return;
    // The conversation got its address: text typed meanwhile moves with it.
    const typed = begun.current && shown.current === draftKey(owner, "") ? box.current.value : "";
    if (shown.current && shown.current !== key && typed) {
      saveDraft(shown.current, "");
      saveDraft(key, typed);
    }
    begun.current = null;
    if (shown.current !== null || !box.current.value) box.current.value = readDraft(key);
    shown.current = key;
    grow(box.current);
  }, [box, key, owner, begun]);
  return useCallback(
    (text) => {
      if (owner) saveDraft(key, text);
    },
    [key, owner],
  );
}

// A choice made here applies at once, even before the server knows it.
function useChosen(value, conversation) {
  const [chosen, setChosen] = useState(null);
  useEffect(() => setChosen(null), [conversation]);
  // Until the server says the same: in between it may answer an earlier choice.
  useEffect(() => setChosen((latest) => (latest === value ? null : latest)), [value]);
  return [chosen ?? value, setChosen];
}

const STOP_AGAIN_MS = 3000;
const STOP_UNTIL_MS = 30000;

// A stop can be lost with its connection, and what is produced meanwhile costs money: it is requested until
// the reply has ended. Stopping twice is the same as once.
function useStop(reply, onStop) {
  const [wanted, setWanted] = useState("");
  const request = useRef(onStop);
  request.current = onStop;
  const ended = reply?.id === wanted && reply.status !== "streaming";
  useEffect(() => {
    if (ended) setWanted("");
    if (ended || !wanted) return undefined;
    const again = setInterval(() => request.current(wanted), STOP_AGAIN_MS);
    const giveUp = setTimeout(() => setWanted(""), STOP_UNTIL_MS);
    return () => {
      clearInterval(again);
      clearTimeout(giveUp);
    };
  }, [wanted, ended]);
  return () => {
    onStop(reply.id);
    setWanted(reply.id);
  };
}

// Chooses a model from elsewhere on the page, as if it had been chosen in the list.
export function ModelButton({ model, label }) {
  const choose = () => {
    const list = document.querySelector(".composer .model-picker select");
    list.value = model;
    list.dispatchEvent(new Event("change", { bubbles: true }));
  };
  return (
    <button type="button" className="button button-small" onClick={choose}>
      {label}
    </button>
  );
}

const EFFORTS = {
  "": "Thinking: auto",
  none: "Thinking: off",
  low: "Thinking: low",
  medium: "Thinking: medium",
  high: "Thinking: high",
};

function Effort({ efforts, value, onEffort }) {
  if (efforts.length === 0) return null;
  return (
    <label className="model-picker">
      <span className="visually-hidden">Thinking</span>
      <select value={value} onChange={(event) => onEffort(event.target.value)}>
        {["", ...efforts].map((effort) => (
          <option key={effort} value={effort}>
            {EFFORTS[effort]}
          </option>
        ))}
      </select>
    </label>
  );
}

function TooLong({ size, limit }) {
  if (!size) return null;
  return (
    <div className="alert" role="alert" data-code="message_too_large">
      <div className="alert-text">
        <span>
          A message can have up to {count(limit)} characters. Shorten this one or send it in parts.
        </span>{" "}
        <span className="alert-clock" aria-live="off">
          It&apos;s {count(size - limit)} too long.
        </span>
      </div>
    </div>
  );
}

export function Composer(props) {
  const { owner, models, limit, reply, accepted, refusal, errors } = props;
  const { thread: conversation = "" } = useParams();
  const box = useRef(null);
  const pending = useRef(null);
  // The message without an answer. A retry keeps its nonce, so the server recognizes it.
  const unanswered = useRef(null);
  const [sending, setSending] = useState(false);
  const [empty, setEmpty] = useState(true);
  // Characters of a text that is too long to send; 0 for any other.
  const [tooLong, setTooLong] = useState(0);
  const [note, setNote] = useState("");
  const begun = useRef(null);
  const save = useDraft(box, owner, conversation, begun);
  const touch = useTouch();
  // The server may still show the conversation before; and a new one has no address at first.
  const starting = [pending.current, begun.current].some((each) => each?.nonce === accepted);
  const here = reply?.conversation === conversation || (!conversation && starting);
  const streaming = reply?.status === "streaming" && here;
  const stop = useStop(reply, props.onStop);
  const [model, chooseModel] = useChosen(props.model, conversation);
  // A model without effort levels uses its default.
  const efforts = models?.find((each) => each.id === model)?.efforts ?? [];
  const [wanted, chooseEffort] = useChosen(props.effort, conversation);
  const effort = efforts.includes(wanted) ? wanted : "";
  const connected = (errors?.length ?? 0) === 0;

  const measure = useCallback(() => {
    const text = box.current.value;
    setEmpty(!text.trim());
    const size = limit && text.length > limit ? countCharacters(text) : 0;
    setTooLong(size > limit ? size : 0);
    grow(box.current);
  }, [limit]);

  const typed = useCallback(() => {
    measure();
    save(box.current.value);
  }, [measure, save]);

  useEffect(() => {
    measure();
    setNote("");
  }, [conversation, owner, measure]);

  useEffect(() => setNote(""), [streaming, sending]);

  useEffect(
    () =>
      watchDrafts((key, sent) => {
        if (key !== draftKey(owner, conversation) || box.current.value !== sent) return;
        box.current.value = "";
        measure();
      }),
    [owner, conversation, measure],
  );

  // Accepted: remove the sent text, keep the text typed after it.
  useLayoutEffect(() => {
    const sent = [pending.current, unanswered.current].find((each) => each?.nonce === accepted);
    if (!sent) return;
    if (sent === pending.current) {
      pending.current = null;
      setSending(false);
    }
    // An answer may also come after it was given up.
    if (unanswered.current?.nonce === accepted) unanswered.current = null;
    clearSent(draftKey(owner, sent.conversation), sent.text);
    if (sent.conversation !== conversation) return;
    if (!conversation) begun.current = sent;
    box.current.value = without(box.current.value, sent.text);
    measure();
  }, [accepted, conversation, owner, measure]);

  useEffect(() => {
    const ours = ["*", pending.current?.nonce].includes(refusal?.nonce);
    if (pending.current && refusal?.code && ours) {
      pending.current = null;
      setSending(false);
    }
  }, [refusal]);

  useEffect(() => {
    // Without a connection the message waits in the page.
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
    if (!text.trim() || tooLong) return;
    if (streaming || pending.current) {
      setNote(streaming ? STILL_REPLYING : STILL_SENDING);
      return;
    }
    const before = unanswered.current;
    const again = before?.text === text && before.conversation === conversation;
    const nonce = again ? before.nonce : crypto.getRandomValues(new Uint32Array(4)).join("-");
    pending.current = { text, conversation, nonce };
    setSending(true);
    // A message follows the last one shown here, whatever another tab shows.
    const after = props.current === conversation ? props.last : "";
    props.onSend(text, conversation, nonce, model, effort, after);
    box.current.focus();
  };

  const onKeyDown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
    if (touch && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    if (!event.repeat) send();
  };

  return (
    <>
      <TooLong size={tooLong} limit={limit} />
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
          enterKeyHint={touch ? "enter" : "send"}
          aria-invalid={tooLong > 0}
        />
        <p className="composer-note" role="status">
          {note}
        </p>
        <div className="composer-bar">
          <label className="model-picker">
            <span className="visually-hidden">Model</span>
            <select
              value={model}
              onChange={(event) => {
                chooseModel(event.target.value);
                props.onModel(event.target.value);
              }}
            >
              {(models ?? []).map((choice) => (
                <option key={choice.id} value={choice.id} disabled={choice.retired}>
                  {choice.retired ? `${choice.label} (retired)` : choice.label}
                </option>
              ))}
            </select>
          </label>
          <Effort
            efforts={efforts}
            value={effort}
            onEffort={(level) => {
              chooseEffort(level);
              props.onEffort(level);
            }}
          />
          {!touch && (
            <span className="composer-hint" aria-hidden="true">
              <kbd>Enter</kbd> to send, <kbd>Shift</kbd> <kbd>Enter</kbd> for a new line
            </span>
          )}
          {streaming ? (
            <button
              type="button"
              className="round-button"
              aria-label="Stop"
              onClick={stop}
            >
              <span className="icon icon-stop" aria-hidden="true" />
            </button>
          ) : (
            <button
              type="submit"
              className="round-button"
              aria-label="Send"
              aria-disabled={empty || sending || tooLong > 0}
              data-busy={sending}
            >
              <span className="icon icon-send" aria-hidden="true" />
            </button>
          )}
        </div>
      </form>
    </>
  );
}
