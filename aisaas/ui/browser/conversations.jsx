// The list of conversations by date. Renaming happens in place, deleting can be taken back.
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useNavigate } from "react-router";

const DAY_MS = 86400000;
const UNDO_MS = 8000;

function groupOf(at, midnight) {
  const age = midnight - Date.parse(at);
  if (age <= 0) return "Today";
  if (age <= DAY_MS) return "Yesterday";
  return age <= 7 * DAY_MS ? "Previous 7 days" : "Older";
}

// By the reader's calendar, which only the browser knows.
function grouped(items) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const groups = new Map();
  for (const item of items) {
    const label = groupOf(item.at, midnight);
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(item);
  }
  return [...groups];
}

function Rename({ item, onDone }) {
  const done = useRef(false);
  const finish = (title) => {
    if (done.current) return;
    done.current = true;
    onDone(title);
  };
  return (
    <input
      className="rename"
      aria-label="New title"
      defaultValue={item.title}
      maxLength={120}
      autoFocus
      onFocus={(event) => event.target.select()}
      onBlur={(event) => finish(event.target.value)}
      onKeyDown={(event) => {
        if (event.nativeEvent.isComposing) return;
        if (event.key === "Enter") finish(event.target.value);
        if (event.key === "Escape") finish(null);
      }}
    />
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

export function Conversations({ current, items, more, undo, onRename, onDelete, onRestore, onMore }) {
  const navigate = useNavigate();
  const [open, setOpen] = useState(false);
  const toggle = useRef(null);
  const groups = useMemo(() => grouped(items ?? []), [items]);
  const close = () => setOpen(false);
  const onKeyDown = (event) => {
    if (event.key !== "Escape" || !open) return;
    close();
    toggle.current?.focus();
  };
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
      <div className="drawer-shade" data-open={open} onClick={close} />
      <nav
        id="conversations"
        className="sidebar"
        aria-label="Conversations"
        data-open={open}
        onKeyDown={onKeyDown}
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
          {more && (
            <button type="button" className="text-button" onClick={() => onMore()}>
              Show older conversations
            </button>
          )}
        </div>
      </nav>
      <Undo undo={undo} onRestore={onRestore} />
    </>
  );
}
