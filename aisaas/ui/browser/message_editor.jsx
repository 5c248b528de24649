// Another version of a question. What is typed is kept like any unsent message, until it is sent or given
// up.
import { useEffect, useRef } from "react";
import { draftKey, readDraft, saveDraft } from "$/components/own/drafts.jsx";
import { isComposing, useTouch } from "$/components/own/keys.jsx";

const editKey = (owner, id) => draftKey(owner, `edit.${id}`);

export const dropEdit = (owner, id) => saveDraft(editKey(owner, id), "");

export function MessageEditor({ message, owner, pending, onSave, onClose }) {
  const box = useRef(null);
  // The text that was sent last and its nonce: sent again without a change, it is the same message.
  const sent = useRef({ text: null, nonce: "" });
  const touch = useTouch();
  const key = editKey(owner, message.id);
  useEffect(() => {
    const area = box.current;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }, []);
  const cancel = () => {
    saveDraft(key, "");
    onClose();
  };
  const save = () => {
    const text = box.current.value;
    if (!text.trim() || pending) return;
    if (sent.current.text !== text) {
      sent.current = { text, nonce: crypto.getRandomValues(new Uint32Array(4)).join("-") };
    }
    onSave(message.id, text, sent.current.nonce);
  };
  const onKeyDown = (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape") {
      event.preventDefault();
      cancel();
    } else if (event.key === "Enter" && !event.shiftKey && (!touch || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!event.repeat) save();
    }
  };
  return (
    <form
      className="composer message-editor"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        ref={box}
        aria-label="Edit message"
        rows={2}
        defaultValue={readDraft(key) || message.text}
        onInput={(event) => saveDraft(key, event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div className="composer-bar">
        <button type="button" className="button button-small" onClick={cancel}>
          Cancel
        </button>
        <button type="submit" className="button button-small button-primary" aria-disabled={pending}>
          Save and send
        </button>
      </div>
    </form>
  );
}
