// Hides a protected page until the server knows the user; once shown, the page stays.
//
// A reloaded tab first receives the previous page's state, including `ready`. The state belongs to
// this page once the page has loaded, that is, once it is `hydrated`.
//
// A server that has forgotten this tab (it was restarted, or another one answers) sends an empty
// state first and the full one a moment later. In between, the page behind the gate keeps the last
// full state. Requests made meanwhile work, since every handler names what it acts on.
import { useContext, useEffect, useMemo, useState } from "react";
import { StateStoreContext } from "$/utils/context-registry";

const ASK_AGAIN_MS = 3000;

// The app's store as it was when `isFull` was last true; the names in `live` are never held back.
class HeldStore {
  constructor(store, isFull, live) {
    Object.assign(this, { store, isFull, live, held: new Map(), listeners: new Map(), due: false });
    this.getSnapshot = this.getSnapshot.bind(this);
    this.subscribe = this.subscribe.bind(this);
    this.refreshSoon = this.refreshSoon.bind(this);
  }

  getSnapshot(name) {
    if (this.live.includes(name)) return this.store.getSnapshot(name);
    if (!this.held.has(name)) this.held.set(name, this.store.getSnapshot(name));
    return this.held.get(name);
  }

  subscribe(name, listener) {
    if (this.live.includes(name)) return this.store.subscribe(name, listener);
    // A function of its own each time: the store knows its listeners apart by identity.
    const leave = this.store.subscribe(name, () => this.refreshSoon());
    const listeners = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, listeners.add(listener));
    this.refreshSoon();
    return () => {
      leave();
      listeners.delete(listener);
    };
  }

  // An update changes several parts one by one: check once all have arrived.
  refreshSoon() {
    if (this.due) return;
    this.due = true;
    queueMicrotask(() => {
      this.due = false;
      if (!this.isFull()) return;
      for (const name of this.held.keys()) {
        const now = this.store.getSnapshot(name);
        if (now === this.held.get(name)) continue;
        this.held.set(name, now);
        for (const listener of this.listeners.get(name) ?? []) listener();
      }
    });
  }
}

export function LoadingGate({ ready, hydrated, session, readyVar, live, refusal, onAgain, children }) {
  const store = useContext(StateStoreContext);
  const [opened, setOpened] = useState(false);
  const held = useMemo(
    () => new HeldStore(store, () => store.getSnapshot(session)[readyVar], live),
    // `live` is a constant of the page, though a new array each time.
    [store, session, readyVar],
  );
  useEffect(() => {
    if (ready && hydrated) setOpened(true);
    held.refreshSoon();
  }, [ready, hydrated, held]);
  // Recover from an outage without a reload. Nothing else would load a page that hasn't opened yet,
  // even when its event failed before any handler ran and the refusal doesn't say so.
  const waiting = refusal?.again === true || (!opened && refusal?.code === "unavailable");
  useEffect(() => {
    if (!waiting) return undefined;
    const timer = setInterval(onAgain, ASK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [waiting, onAgain]);
  const [page, skeleton] = children;
  if (!(ready && hydrated) && !opened) return skeleton;
  return <StateStoreContext.Provider value={held}>{page}</StateStoreContext.Provider>;
}
