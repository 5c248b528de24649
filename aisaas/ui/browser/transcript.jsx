// The messages of one conversation. The whole text of each lives here; the server sends a page of
// stored messages, then short overlapping segments of the running reply, which are merged by their
// offset. Missing text is requested: React may skip a segment, a network may lose some.
import { memo, useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { useFlow } from "$/components/own/flow.jsx";
import { usePending } from "$/components/own/pending.jsx";
import { Markdown } from "$/components/own/markdown.jsx";
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
    this.order = null;
    this.added = new WeakSet();
    this.older = false;
  }

  // A message grows and ends; an older version than the one held changes neither its text nor its
  // ending.
  add(view) {
    if (!view?.id || this.added.has(view)) return;
    this.added.add(view);
    const held = this.messages.get(view.id);
    const { text, thinking, ...rest } = view;
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
    if (!held) this.order = null;
    this.messages.set(view.id, message);
  }

  // Pages follow each other without a hole: an older one is added where it was asked for, and a newest
  // one that meets nothing we hold starts over.
  addPage(page) {
    if (!page?.items || this.added.has(page)) return;
    const [oldest] = this.inOrder();
    if (page.before && page.before !== oldest?.id) return;
    this.added.add(page);
    if (!page.before && page.older && !page.items.some((view) => this.messages.has(view.id))) {
      this.messages.clear();
      this.order = null;
    }
    for (const view of page.items) this.add(view);
    const reached = page.items[0]?.id ?? page.before;
    if (this.inOrder()[0]?.id === reached) this.older = page.older;
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
    this.order ??= [...this.messages.values()].sort(inTime).map((message) => message.id);
    return this.order.map((id) => this.messages.get(id));
  }
}

function inTime(a, b) {
  if (a.at !== b.at) return a.at < b.at ? -1 : 1;
  return Number(a.role !== "user") - Number(b.role !== "user");
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
    if (reply?.conversation === conversation) store.add(reply);
    store.merge(missing ?? []);
    const lost = [store.merge(segment ?? []), store.merge(thought ?? [])];
    const gap = lost[0] ?? lost[1] ?? store.unfinished();
    return { messages: store.inOrder(), older: store.older, gap };
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

const Message = memo(function Message({ message, canRetry, retrying, onRetry, canContinue, onContinue }) {
  const [copied, copy] = useCopied();
  const user = message.role === "user";
  const streaming = message.status === "streaming";
  const wordless = streaming && message.length <= (message.since ?? 0);
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
      {user ? (
        <div className="bubble">{message.text}</div>
      ) : (
        <div>
          <Thought message={message} wordless={wordless} />
          {message.text && <ReplyText text={message.text} streaming={streaming} />}
        </div>
      )}
      {message.note && <p className="message-note">{message.note}</p>}
      {(!streaming || message.text) && (
        <footer className="message-foot">
          {!user && !streaming && <Facts message={message} />}
          <span className="message-actions">
            {message.text && (
              <button
                type="button"
                className="icon-button"
                aria-label={user ? "Copy message" : "Copy reply"}
                onClick={() => copy(message.text)}
              >
                <span className={copied ? "icon icon-check" : "icon icon-copy"} aria-hidden="true" />
              </button>
            )}
            {canContinue && (
              <button
                type="button"
                className="button button-small button-primary"
                aria-disabled={retrying}
                onClick={() => retrying || onContinue(message.id)}
              >
                Continue
              </button>
            )}
            {canRetry && (
              <button
                type="button"
                className="button button-small"
                aria-disabled={retrying}
                onClick={() => retrying || onRetry(message.id)}
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

export function Transcript({ onGap, onRetry, onContinue, onOlder, refusal, children, ...props }) {
  const { messages, older, gap } = useStore(props);
  const { conversation, reply } = props;
  useGap(gap, onGap);
  const view = useMessageWindow(messages, conversation);
  const [pending, setPending] = usePending(refusal);
  const retry = useCallback(
    (id) => {
      setPending(id);
      onRetry(id);
    },
    [onRetry, setPending],
  );
  const goOn = useCallback(
    (id) => {
      setPending(id);
      onContinue(id);
    },
    [onContinue, setPending],
  );
  const last = messages.at(-1);
  return (
    <div className="transcript-frame">
      <div ref={view.frame} className="transcript" role="region" aria-label="Messages" tabIndex={0} {...view.handlers}>
        <div ref={view.content} className="transcript-column">
          {older && messages.length > 0 && (
            <Older first={messages[0].id} refusal={refusal} onOlder={onOlder} />
          )}
          {messages.length === 0 && !conversation && children}
          <Gap height={view.above} />
          {view.shown.map((message) => (
            <Message
              key={message.id}
              message={message}
              canRetry={message.retry && message === last}
              retrying={pending === message.id}
              onRetry={retry}
              canContinue={message.go_on && message === last}
              onContinue={goOn}
            />
          ))}
          <Gap height={view.below} />
        </div>
      </div>
      {view.away && (
        <button type="button" className="button jump" onClick={view.jump}>
          <span className="icon icon-down" aria-hidden="true" /> Jump to latest
        </button>
      )}
      <Announcer reply={reply} />
    </div>
  );
}
