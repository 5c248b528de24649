// The list of conversations by date. Renaming happens in place, deleting can be taken back.
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useNavigate } from "react-router";
import { usePending } from "$/components/own/pending.jsx";
import { grouped, useToday } from "$/components/own/days.jsx";
import { isComposing } from "$/components/own/keys.jsx";

const UNDO_MS = 8000;

function Rename({ item, onDone }) {
  const done = useRef(false);
  const title = useRef(null);
  const finish = (wanted) => {
    if (done.current) return;
    done.current = true;
    onDone(wanted);
  };
  return (
    <form
      className="rename"
      onSubmit={(event) => {
        event.preventDefault();
        finish(title.current.value);
      }}
    >
      <input
        ref={title}
        aria-label="New title"
        defaultValue={item.title}
        maxLength={120}
        autoFocus
        enterKeyHint="done"
        onFocus={(event) => event.target.select()}
        onBlur={(event) => finish(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape" || isComposing(event)) return;
          // Not for the drawer as well.
          event.stopPropagation();
          finish(null);
        }}
      />
    </form>
  );
}

function Row({ item, current, onRename, onDelete, onOpen }) {
  const [editing, setEditing] = useState(false);
  const link = useRef(null);
  const finish = (title) => {
    setEditing(false);
    const trimmed = title?.trim();
    if (trimmed && trimmed !== item.title) onRename(item.id, trimmed);
    requestAnimationFrame(() => link.current?.focus());
  };
  if (editing) {
    return (
      <li className="row">
        <Rename item={item} onDone={finish} />
      </li>
    );
  }
  return (
    <li className="row" data-current={current}>
      <Link
        ref={link}
        to={`/chat/${item.id}`}
        aria-current={current ? "page" : undefined}
        title={item.title}
        onClick={onOpen}
        onKeyDown={(event) => event.key === "F2" && setEditing(true)}
      >
        {item.title}
      </Link>
      <span className="row-actions">
        <button
          type="button"
          className="icon-button"
          aria-label={`Rename ${item.title}`}
          onClick={() => setEditing(true)}
        >
          <span className="icon icon-pencil" aria-hidden="true" />
        </button>
        <button
          type="button"
          className="icon-button"
          aria-label={`Delete ${item.title}`}
          onClick={() => onDelete(item.id)}
        >
          <span className="icon icon-trash" aria-hidden="true" />
        </button>
      </span>
    </li>
  );
}

function Undo({ undo, onRestore }) {
  const [gone, setGone] = useState("");
  useEffect(() => {
    if (!undo?.id) return undefined;
    const timer = setTimeout(() => setGone(undo.nonce), UNDO_MS);
    return () => clearTimeout(timer);
  }, [undo?.id, undo?.nonce]);
  const shown = Boolean(undo?.id) && gone !== undo.nonce;
  return (
    <div className="toast" role="status" aria-live="polite" data-shown={shown}>
      {shown && (
        <>
          <span className="toast-text">Deleted “{undo.title}”</span>
          <button type="button" className="text-button" onClick={() => onRestore(undo.id)}>
            Undo
          </button>
        </>
      )}
    </div>
  );
}

// The conversations this page knows, newest first, in one piece from the first down to `end`. Kept
// while other pages are visited. Merging is idempotent: the same props twice change nothing.
class List {
  constructor(owner) {
    this.owner = owner;
    this.items = new Map();
    this.merged = new WeakSet();
    this.applied = new Set();
    this.end = null;
    this.more = false;
  }

  // A page says all there is between where it begins (`before`; "" is the first) and its last row.
  addPage(page) {
    if (!page?.items || this.merged.has(page)) return;
    const newest = !page.before;
    if (!newest && page.before !== this.end) return;
    this.merged.add(page);
    const last = page.items.at(-1);
    const reaches = last ? cursor(last) : page.before;
    const meets = page.items.some((item) => this.items.get(item.id)?.at === item.at);
    if (newest && page.more && !meets) this.items.clear();
    for (const item of this.items.values()) {
      const within = (newest || cursor(item) < page.before) && (!page.more || cursor(item) >= reaches);
      if (within) this.items.delete(item.id);
    }
    for (const item of page.items) this.items.set(item.id, item);
    if (!newest || this.items.size === page.items.length) {
      this.end = reaches;
      this.more = page.more;
    }
  }

  apply(change) {
    if (!change?.nonce || this.applied.has(change.nonce)) return;
    this.applied.add(change.nonce);
    if (change.gone) this.items.delete(change.item.id);
    else this.items.set(change.item.id, change.item);
  }

  inOrder() {
    const known = [...this.items.values()].filter((item) => !this.more || cursor(item) >= this.end);
    return known.sort((a, b) => (cursor(a) < cursor(b) ? 1 : -1));
  }
}

// Sorts as the server does, and is the cursor it expects for the page after a row.
const cursor = (item) => `${item.at}/${item.id}`;

let kept = null;

function useList(owner, newest, older, changes) {
  return useMemo(() => {
    if (kept?.owner !== owner) kept = new List(owner);
    kept.addPage(newest);
    if (older?.before) kept.addPage(older);
    for (const change of changes ?? []) kept.apply(change);
    return { items: kept.inOrder(), end: kept.end, more: kept.more };
  }, [owner, newest, older, changes]);
}

function ShowOlder({ end, refusal, onMore }) {
  const [pending, setPending] = usePending(refusal);
  return (
    <button
      type="button"
      className="text-button"
      aria-disabled={pending === end}
      onClick={() => {
        if (pending === end) return;
        setPending(end);
        onMore(end);
      }}
    >
      {pending === end ? "Loading…" : "Show older conversations"}
    </button>
  );
}

export function Conversations({ owner, current, newest, older, changes, undo, refusal, ...props }) {
  const { onRename, onDelete, onRestore, onMore } = props;
  const navigate = useNavigate();
  const [open, setOpen] = useState(false);
  const toggle = useRef(null);
  const drawer = useRef(null);
  const { items, end, more } = useList(owner, newest, older, changes);
  const today = useToday();
  const groups = useMemo(() => grouped(items, today), [items, today]);
  const close = () => setOpen(false);
  // Where there is little room the list is a drawer: it takes the focus, and gives it back.
  useEffect(() => {
    if (!open) return undefined;
    drawer.current.querySelector("button").focus();
    const onKeyDown = (event) => {
      if (event.key !== "Escape" || event.target.classList.contains("rename")) return;
      close();
      toggle.current.focus();
    };
    const onFocusIn = ({ target }) => {
      if (target !== toggle.current && !drawer.current.contains(target)) close();
    };
    document.addEventListener("keydown", onKeyDown);
    document.addEventListener("focusin", onFocusIn);
    return () => {
      document.removeEventListener("keydown", onKeyDown);
      document.removeEventListener("focusin", onFocusIn);
    };
  }, [open]);
  return (
    <>
      <button
        ref={toggle}
        type="button"
        className="icon-button drawer-toggle"
        aria-label="Show conversations"
        aria-expanded={open}
        aria-controls="conversations"
        onClick={() => setOpen(!open)}
      >
        <span className="icon icon-menu" aria-hidden="true" />
      </button>
      <div
        className="drawer-shade"
        data-open={open}
        onClick={() => {
          close();
          toggle.current.focus();
        }}
      />
      <nav
        ref={drawer}
        id="conversations"
        className="sidebar"
        aria-label="Conversations"
        data-open={open}
      >
        <button
          type="button"
          className="button new-chat"
          onClick={() => {
            close();
            navigate("/chat");
          }}
        >
          <span className="icon icon-plus" aria-hidden="true" /> New chat
        </button>
        <div className="sidebar-scroll">
          {groups.length === 0 && (
            <p className="sidebar-empty">Your conversations will be listed here.</p>
          )}
          {groups.map(([label, rows]) => (
            <section key={label} aria-label={label}>
              <h2>{label}</h2>
              <ul>
                {rows.map((item) => (
                  <Row
                    key={item.id}
                    item={item}
                    current={item.id === current}
                    onRename={onRename}
                    onDelete={onDelete}
                    onOpen={close}
                  />
                ))}
              </ul>
            </section>
          ))}
          {more && <ShowOlder end={end} refusal={refusal} onMore={onMore} />}
        </div>
      </nav>
      <Undo undo={undo} onRestore={onRestore} />
    </>
  );
}
