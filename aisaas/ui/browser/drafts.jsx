// Unsent text, by user and conversation ("" is the new chat). Each tab keeps its own; the draft that
// was typed last in any tab is kept beside it, for tabs that are opened later. Clearing a draft removes
// only that text, never what another tab holds.

// More than this can't be sent, and would fill the storage that the page needs for other things.
const MOST_STORED = 1_000_000;

export const draftKey = (owner, conversation) => `draft.${owner}.${conversation || "new"}`;

// The draft of this page survives visits to other chats even where nothing may be stored.
const own = new Map();

function read(storage, key) {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

function write(storage, key, text) {
  try {
    if (text) window[storage].setItem(key, text);
    else window[storage].removeItem(key);
  } catch {
    // A full or forbidden storage never blocks typing.
  }
}

const ownDraft = (key) => own.get(key) || read("sessionStorage", key) || "";

export const readDraft = (key) => ownDraft(key) || read("localStorage", key) || "";

export function saveDraft(key, text) {
  const before = ownDraft(key);
  own.set(key, text);
  if (text.length > MOST_STORED) return;
  write("sessionStorage", key, text);
  if (text || read("localStorage", key) === before) write("localStorage", key, text);
}

// The rest of a text once `sent` was sent: the part typed after it.
export const without = (text, sent) =>
  text.startsWith(sent) ? text.slice(sent.length).trimStart() : text;

const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("drafts");

export function clearSent(key, sent) {
  const kept = without(ownDraft(key), sent);
  if (read("localStorage", key) === sent) write("localStorage", key, "");
  saveDraft(key, kept);
  channel?.postMessage({ key, sent });
}

// Calls `onCleared(key, sent)` when another tab has sent the text that is a draft here, too.
export function watchDrafts(onCleared) {
  const onMessage = ({ data: { key, sent } }) => {
    if (ownDraft(key) !== sent) return;
    saveDraft(key, "");
    onCleared(key, sent);
  };
  // Another tab has cleared its draft, which had taken the place of ours.
  const onStorage = ({ key, oldValue, newValue }) => {
    if (newValue !== null || !key?.startsWith("draft.")) return;
    const kept = ownDraft(key);
    if (kept && kept !== oldValue) write("localStorage", key, kept);
  };
  channel?.addEventListener("message", onMessage);
  window.addEventListener("storage", onStorage);
  return () => {
    channel?.removeEventListener("message", onMessage);
    window.removeEventListener("storage", onStorage);
  };
}
