// The messages of one conversation. The whole text of each lives here; the server sends a page of
// stored messages, then short overlapping segments of the running reply, which are merged by their
// offset. Missing text is requested: React may skip a segment, a network may lose some.
//
// The messages are a tree, of which one path is shown: from its last message up, as far as we hold it.
import { Fragment, memo, useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { useNavigate } from "react-router";
import { Action } from "$/components/own/action.jsx";
import { CopyRichText, ReadAloud } from "$/components/own/drawn_reply.jsx";
import { useFlow } from "$/components/own/flow.jsx";
import { usePending } from "$/components/own/pending.jsx";
import { Markdown } from "$/components/own/markdown.jsx";
import { dropEdit, MessageEditor } from "$/components/own/message_editor.jsx";
import { useMessageWindow } from "$/components/own/message_window.jsx";

const ASK_AGAIN_MS = 1500;
const COPIED_MS = 1600;

// Offsets count code points, as the server does; JavaScript counts UTF-16 units.
const points = (text) => {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
};

// What a model thinks travels like its text, under a key with a mark.
const THOUGHT_MARK = "~";
const TEXT = { field: "text", length: "length", size: "size" };
const THINKING = { field: "thinking", length: "thoughtLength", size: "thinking_size" };

// The messages we hold, by id. Merging is idempotent: the same props twice change nothing.
class Store {
  constructor() {
    this.messages = new Map();
    this.last = "";
    this.path = null;
    this.added = new WeakSet();
  }

  // A message grows and ends; an older version than the one held changes neither its text nor its
  // ending.
  add(view) {
    if (!view?.id || this.added.has(view)) return;
    this.added.add(view);
    const held = this.messages.get(view.id);
    const { text, thinking, versions, ...rest } = view;
    // A continued reply has more text before it than when it ended.
    const older = held && view.since < held.since;
    const ended = held && view.since === held.since && held.status !== "streaming";
    const stale = older || (ended && view.status === "streaming");
    const empty = { text: "", length: 0, thinking: "", thoughtLength: 0 };
    const message = { ...empty, ...held, ...(stale ? {} : rest) };
    if (!stale && view.status === "streaming") message.began = Date.now() - view.waited * 1000;
    for (const [kind, whole] of [[TEXT, text], [THINKING, thinking]]) {
      const length = whole ? points(whole) : 0;
      if (length > message[kind.length]) Object.assign(message, { [kind.field]: whole, [kind.length]: length });
    }
    if (versions) message.versions = versions;
    if (!held) this.path = null;
    this.messages.set(view.id, message);
  }

  // The end of a path comes into view; an older page continues the one in view.
  addPage(page) {
    if (!page?.items || this.added.has(page)) return;
    this.added.add(page);
    for (const view of page.items) this.add(view);
    if (!page.before) this.show(page.items.at(-1)?.id);
  }

  // A reply that has begun comes into view. Later there may be another path.
  addReply(reply) {
    const isNew = !this.messages.has(reply.id);
    this.add(reply);
    if (isNew) this.show(reply.id);
  }

  show(id) {
    this.last = id;
    this.path = null;
  }

  // Returns [message id, offset, whether of thinking] when text between what we hold and the segment is
  // missing.
  merge([key, offset, text]) {
    if (!key) return null;
    const thought = key.endsWith(THOUGHT_MARK);
    const begins = thought ? key.slice(0, -THOUGHT_MARK.length) : key;
    const id = [...this.messages.keys()].find((candidate) => candidate.startsWith(begins));
    if (!id) return null;
    const kind = thought ? THINKING : TEXT;
    const message = this.messages.get(id);
    const length = message[kind.length];
    if (offset > length) return [id, length, thought];
    const fresh = Array.from(text).slice(length - offset);
    if (fresh.length > 0) {
      this.messages.set(id, {
        ...message,
        [kind.field]: message[kind.field] + fresh.join(""),
        [kind.length]: length + fresh.length,
      });
    }
    return null;
  }

  // A reply that ended shorter here than on the server.
  unfinished() {
    for (const message of this.messages.values()) {
      for (const kind of [TEXT, THINKING]) {
        const short = message[kind.size] != null && message[kind.length] < message[kind.size];
        if (short) return [message.id, message[kind.length], kind === THINKING];
      }
    }
    return null;
  }

  inOrder() {
    if (!this.path) {
      this.path = [];
      for (let id = this.last; this.messages.has(id); id = this.messages.get(id).parent) this.path.push(id);
      this.path.reverse();
    }
    return this.path.map((id) => this.messages.get(id));
  }
}

function useStore({ conversation, page, question, reply, segment, thought, missing }) {
  const held = useRef({ conversation: null, store: null });
  return useMemo(() => {
    if (held.current.conversation !== conversation || !held.current.store) {
      held.current = { conversation, store: new Store() };
    }
    const { store } = held.current;
    if (page?.conversation === conversation) store.addPage(page);
    if (question?.conversation === conversation) store.add(question);
    if (reply?.conversation === conversation) store.addReply(reply);
    store.merge(missing ?? []);
    const lost = [store.merge(segment ?? []), store.merge(thought ?? [])];
    const gap = lost[0] ?? lost[1] ?? store.unfinished();
    const messages = store.inOrder();
    return { messages, older: Boolean(messages[0]?.parent), gap };
  }, [conversation, page, question, reply, segment, thought, missing]);
}

function useGap(gap, onGap) {
  const asked = useRef(0);
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    if (!gap) return undefined;
    const wait = asked.current + ASK_AGAIN_MS - Date.now();
    if (wait <= 0) {
      asked.current = Date.now();
      onGap(...gap);
    }
    const timer = setTimeout(again, Math.max(wait, 0) + ASK_AGAIN_MS);
    return () => clearTimeout(timer);
  });
}

function useCopied() {
  const [copied, setCopied] = useState(false);
  const copy = useCallback(async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), COPIED_MS);
    } catch {
      setCopied(false);
    }
  }, []);
  return [copied, copy];
}

function Facts({ message }) {
  return (
    <span className="facts">
      {message.model && <span>{message.model}</span>}
      {message.fallback && <span className="facts-fallback">{message.fallback}</span>}
      {message.tokens && <span>{message.tokens}</span>}
      {message.charge && <span>{message.charge}</span>}
      {message.cost && <span>{message.cost}</span>}
    </span>
  );
}

// A model that answers at once needs no clock.
const WAIT_IS_SAID = 3;

// Whole seconds since a moment, while `running`.
function useSeconds(running, began) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!running) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running, began]);
  return running ? Math.max(Math.floor((now - began) / 1000), 0) : 0;
}

function CopyThinking({ text }) {
  const [copied, copy] = useCopied();
  return (
    <button type="button" className="icon-button" aria-label="Copy thinking" onClick={() => copy(text)}>
      <span className={copied ? "icon icon-check" : "icon icon-copy"} aria-hidden="true" />
    </button>
  );
}

// What a model does before it writes: its thinking, where the provider sends it, or else how long it takes.
function Thought({ message, wordless }) {
  const thinks = wordless && (message.thinks || message.thoughtLength > 0);
  const seconds = useSeconds(wordless, message.began);
  if (wordless && !thinks) {
    return (
      <p className="waiting">
        <span className="thinking">
          <span className="visually-hidden">Waiting for the reply</span>
        </span>
        {seconds >= WAIT_IS_SAID && <span aria-hidden="true">Waiting… {seconds} s</span>}
      </p>
    );
  }
  const label = thinks ? `Thinking…${seconds > 0 ? ` ${seconds} s` : ""}` : message.thought || "Thought";
  if (message.thinking) {
    return (
      <details className="thought" data-thinking={thinks}>
        <summary>{label}</summary>
        <div className="thought-text">{message.thinking}</div>
        <CopyThinking text={message.thinking} />
      </details>
    );
  }
  if (!thinks && !message.thought) return null;
  return (
    <p className="thought" data-thinking={thinks}>
      {label}
    </p>
  );
}

function ReplyText({ text, streaming }) {
  return <Markdown text={useFlow(text, streaming)} streaming={streaming} />;
}

// A link, so that each version has an address; one without an address keeps the focus.
function Step({ to, label, icon }) {
  const navigate = useNavigate();
  const go = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (to) navigate(to, { replace: true });
  };
  return (
    <a
      href={to || undefined}
      role="link"
      tabIndex={0}
      aria-disabled={!to}
      aria-label={label}
      title={label}
      className="icon-button"
      onClick={go}
    >
      <span className={`icon icon-${icon}`} aria-hidden="true" />
    </a>
  );
}

function Versions({ versions }) {
  if (!versions) return null;
  return (
    <span className="versions" role="group" aria-label="Versions">
      <Step to={versions.previous} label="Previous version" icon="left" />
      <span>
        {versions.number} / {versions.count}
      </span>
      <Step to={versions.next} label="Next version" icon="right" />
    </span>
  );
}

const OTHER_MODELS = "regenerate-with";

// One for all messages: it opens at the button that was pressed.
function OtherModels({ models, onChoose }) {
  return (
    <div id={OTHER_MODELS} popover="auto" className="popup" role="group" aria-label="Regenerate with">
      {models.map(({ id, label }) => (
        <button
          key={id}
          type="button"
          className="popup-item"
          popoverTarget={OTHER_MODELS}
          popoverTargetAction="hide"
          onClick={() => onChoose(id)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}

const Message = memo(function Message({ message, last, idle, pending, owner, several, act }) {
  const [copied, copy] = useCopied();
  // The id of the message that is edited: what is shown here may become another version.
  const [editing, setEditing] = useState("");
  useEffect(() => {
    if (!editing || editing === message.id) return;
    dropEdit(owner, editing);
    setEditing("");
  }, [editing, message.id, owner]);
  const user = message.role === "user";
  const streaming = message.status === "streaming";
  const wordless = streaming && message.length <= (message.since ?? 0);
  const retrying = pending === message.id;
  const canRetry = message.retry && last;
  return (
    <article
      className={user ? "message message-user" : "message"}
      data-role={message.role}
      data-status={message.status}
      data-id={message.id}
      aria-label={user ? "You" : "Reply"}
      aria-busy={streaming}
    >
      {message.cut && <p className="message-cut">{message.cut}</p>}
      {user && editing === message.id ? (
        <MessageEditor
          message={message}
          owner={owner}
          pending={retrying}
          onSave={act.edit}
          onClose={() => setEditing("")}
        />
      ) : user ? (
        <div className="bubble">{message.text}</div>
      ) : (
        <div key={message.id}>
          <Thought message={message} wordless={wordless} />
          {message.text && <ReplyText text={message.text} streaming={streaming} />}
        </div>
      )}
      {message.note && <p className="message-note">{message.note}</p>}
      {(!streaming || message.text || message.versions) && editing !== message.id && (
        <footer className="message-foot">
          {!user && !streaming && <Facts message={message} />}
          <span className="message-actions">
            <Versions versions={message.versions} />
            {message.text && (
              <Action
                label={user ? "Copy message" : "Copy reply"}
                icon={copied ? "check" : "copy"}
                onClick={() => copy(message.text)}
              />
            )}
            {!user && !streaming && message.text && (
              <Fragment key={message.id}>
                <CopyRichText markdown={message.text} />
                <ReadAloud />
              </Fragment>
            )}
            {user && idle && <Action label="Edit" icon="pencil" onClick={() => setEditing(message.id)} />}
            {!user && idle && !canRetry && (
              <>
                <Action label="Regenerate" icon="retry" aria-disabled={retrying} onClick={() => act.regenerate(message.id)} />
                {several && (
                  <Action
                    label="Regenerate with another model"
                    icon="more"
                    popoverTarget={OTHER_MODELS}
                    onClick={() => act.choose(message.id)}
                  />
                )}
              </>
            )}
            {message.go_on && last && (
              <button
                type="button"
                className="button button-small button-primary"
                aria-disabled={retrying}
                onClick={() => act.goOn(message.id)}
              >
                Continue
              </button>
            )}
            {canRetry && (
              <button
                type="button"
                className="button button-small"
                aria-disabled={retrying}
                onClick={() => act.retry(message.id)}
              >
                <span className="icon icon-retry" aria-hidden="true" /> Retry
              </button>
            )}
          </span>
        </footer>
      )}
    </article>
  );
});

// By ending, else by status.
const ENDINGS = {
  limit: "The reply reached its length limit.",
  filtered: "The reply was blocked by a content filter.",
  refused: "The model declined to answer.",
  empty: "The reply is empty.",
  only_thinking: "The model thought and gave no answer.",
  done: "The reply is complete.",
  stopped: "The reply was stopped.",
  interrupted: "The reply was interrupted.",
  failed: "The reply failed.",
};

function Announcer({ reply }) {
  const running = useRef("");
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (reply?.status === "streaming") {
      running.current = reply.id;
      setSaid("");
    } else if (reply?.id && running.current === reply.id) {
      running.current = "";
      setSaid(ENDINGS[reply.ending] ?? ENDINGS[reply.status] ?? "");
    }
  }, [reply]);
  return (
    <div className="visually-hidden" role="status" aria-live="polite">
      {said}
    </div>
  );
}

function Older({ first, refusal, onOlder }) {
  const [pending, setPending] = usePending(refusal);
  return (
    <button
      type="button"
      className="button button-small load-older"
      aria-disabled={pending === first}
      onClick={() => {
        if (pending === first) return;
        setPending(first);
        onOlder(first);
      }}
    >
      {pending === first ? "Loading…" : "Load earlier"}
    </button>
  );
}

// Stands where messages aren't rendered.
const Gap = ({ height }) =>
  height > 0 && <div className="transcript-gap" style={{ height }} aria-hidden="true" />;

// Actions on a message, each sent once until it is answered.
function useActions(pending, setPending, { onEdit, onRetry, onRegenerate, onContinue }) {
  const chosen = useRef("");
  const busy = useRef("");
  busy.current = pending;
  return useMemo(() => {
    const once = (request) => (id, ...values) => {
      if (busy.current === id) return;
      setPending(id);
      request(id, ...values);
    };
    const regenerate = once((id, model) => onRegenerate(id, model ?? ""));
    return {
      edit: once(onEdit),
      retry: once(onRetry),
      goOn: once(onContinue),
      regenerate,
      // The message for which a model is chosen next.
      choose: (id) => {
        chosen.current = id;
      },
      regenerateWith: (model) => regenerate(chosen.current, model),
    };
  }, [setPending, onEdit, onRetry, onRegenerate, onContinue]);
}

export function Transcript({ onGap, onOlder, refusal, children, ...props }) {
  const { messages, older, gap } = useStore(props);
  const { conversation, page, reply, owner } = props;
  useGap(gap, onGap);
  const view = useMessageWindow(messages, conversation, page?.conversation === conversation ? page : null);
  const [pending, setPending] = usePending(refusal);
  const act = useActions(pending, setPending, props);
  const models = props.models?.filter((model) => !model.retired) ?? [];
  const last = messages.at(-1);
  const idle = last?.status !== "streaming";
  return (
    <div className="transcript-frame">
      <div ref={view.frame} className="transcript" role="region" aria-label="Messages" tabIndex={0} {...view.handlers}>
        <div ref={view.content} className="transcript-column">
          {older && <Older first={messages[0].id} refusal={refusal} onOlder={onOlder} />}
          {messages.length === 0 && !conversation && children}
          <Gap height={view.above} />
          {view.shown.map((message) => (
            // By the place in the path, so that the focus stays when another version takes it.
            <Message
              key={message.parent || "first"}
              message={message}
              last={message === last}
              idle={idle}
              pending={pending === message.id ? pending : ""}
              owner={owner}
              several={models.length > 1}
              act={act}
            />
          ))}
          <Gap height={view.below} />
        </div>
      </div>
      <OtherModels models={models} onChoose={act.regenerateWith} />
      {view.away && (
        <button type="button" className="button jump" onClick={view.jump}>
          <span className="icon icon-down" aria-hidden="true" /> Jump to latest
        </button>
      )}
      <Announcer reply={reply} />
    </div>
  );
}
