// Which messages of a conversation are rendered, and where the reader is.
//
// A long conversation renders the messages in view and some on either side; gaps of equal height
// replace the others. The view follows the end while the reader is there, stops as soon as they
// scroll up, and otherwise keeps the text they read in place, whatever changes above it.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";

// Messages rendered at the end of a conversation.
const NEWEST = 60;
// Elsewhere: rendered on either side of the view after a move, and the fewest before the next move.
const BESIDE = 24;
const FEWEST_BESIDE = 8;
// So near the end counts as there; and so little is no scrolling but rounding.
const LINE_PX = 24;
// A reader who scrolls to the end reaches the one of the frame before: text may have grown by a
// paragraph since.
const GROWN_PX = 72;
const STILL_PX = 1;
const UP = ["ArrowUp", "PageUp", "Home"];

// A part of the transcript with its own scrolling, like a wide table or folded code, that can still
// scroll.
function scrollsInside(target, box) {
  for (let part = target; part && part !== box; part = part.parentElement) {
    if (part.scrollTop > 0 && /auto|scroll/.test(getComputedStyle(part).overflowY)) return true;
  }
  return false;
}

const isTyping = (target) => target.closest("input, textarea, select") !== null;

const goesUp = (event) => UP.includes(event.key) || (event.key === " " && event.shiftKey);

// Heights of messages as they were when they were rendered last.
class Heights {
  constructor() {
    this.known = new Map();
    this.total = 0;
    this.gap = 0;
  }

  measure(content) {
    this.gap = Number.parseFloat(getComputedStyle(content).rowGap) || 0;
    for (const article of articlesOf(content)) {
      const height = article.getBoundingClientRect().height;
      this.total += height - (this.known.get(article.dataset.id) ?? 0);
      this.known.set(article.dataset.id, height);
    }
  }

  of(message) {
    return this.known.get(message.id) ?? (this.known.size ? this.total / this.known.size : 0);
  }

  sum(messages) {
    return messages.reduce((sum, each) => sum + this.of(each), Math.max(messages.length - 1, 0) * this.gap);
  }

  // The index of the message at a distance below the first one.
  at(messages, distance) {
    let bottom = 0;
    const index = messages.findIndex((each) => {
      bottom += this.of(each) + this.gap;
      return bottom > distance;
    });
    return index < 0 ? messages.length - 1 : index;
  }
}

const articlesOf = (content) => [...content.children].filter((child) => child.tagName === "ARTICLE");

// Indexes of the first and the last message in view.
function inView(box, content, messages, start, heights) {
  const { top, bottom } = box.getBoundingClientRect();
  const articles = articlesOf(content);
  const seen = articles.flatMap((article, n) => {
    const rect = article.getBoundingClientRect();
    return rect.bottom > top && rect.top < bottom ? [start + n] : [];
  });
  if (seen.length > 0) return [seen[0], seen.at(-1)];
  const first = heights.at(messages, box.scrollTop);
  return [first, Math.max(first, heights.at(messages, box.scrollTop + box.clientHeight))];
}

const selects = (box) => {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && box.contains(selection.anchorNode);
};

// `page` is what the server sent last; its `at` is the message that it was opened at.
export function useMessageWindow(messages, conversation, page) {
  const frame = useRef(null);
  const content = useRef(null);
  const heights = useRef(null);
  heights.current ??= new Heights();
  // `anchor` is the first message in view and its distance from the top of the content.
  const place = useRef({ pinned: true, top: 0, end: 0, height: 0, anchor: null });
  // The message to bring into view.
  const goal = useRef("");
  const [away, setAway] = useState(false);
  // The first message that is rendered and how many are; null for the newest.
  const [range, setRange] = useState(null);

  const count = messages.length;
  const from = range ? messages.findIndex((message) => message.id === range.from) : -1;
  const start = from < 0 ? Math.max(0, count - NEWEST) : from;
  const end = from < 0 ? count : Math.min(count, start + range.size);

  const pin = useCallback((pinned) => {
    place.current.pinned = pinned;
    setAway(!pinned);
    if (pinned) setRange(null);
  }, []);

  // Has the reader moved, and did that let go of the end or reach it?
  const look = useCallback(() => {
    const box = frame.current;
    const was = place.current;
    const top = box.scrollTop;
    const bottom = box.scrollHeight - box.clientHeight;
    if (was.pinned) {
      if (top < was.top - STILL_PX && top < bottom - STILL_PX) pin(false);
    } else if (top > was.top && top >= Math.min(bottom, was.end) - GROWN_PX) {
      pin(true);
    }
    // While pinned, small steps up add up.
    if (!was.pinned || top > was.top || top >= bottom - STILL_PX) was.top = top;
    was.end = bottom;
  }, [pin]);

  const remember = useCallback(() => {
    const box = frame.current;
    const was = place.current;
    const { top } = box.getBoundingClientRect();
    const first = articlesOf(content.current).find(
      (article) => article.getBoundingClientRect().bottom > top,
    );
    was.anchor = first && {
      id: first.dataset.id,
      at: first.getBoundingClientRect().top - top + box.scrollTop,
    };
    was.end = box.scrollHeight - box.clientHeight;
    was.height = box.clientHeight;
  }, []);

  // Back to where the reader is, after something has changed its size.
  const settle = useCallback(() => {
    const box = frame.current;
    const was = place.current;
    // A taller frame moved its content down by itself: the user didn't scroll.
    if (was.height === box.clientHeight) look();
    if (was.pinned) {
      box.scrollTop = box.scrollHeight;
      was.top = box.scrollTop;
    } else if (was.anchor) {
      const article = articlesOf(content.current).find(({ dataset }) => dataset.id === was.anchor.id);
      const at = article && article.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop;
      if (article && Math.abs(at - was.anchor.at) >= STILL_PX) {
        box.scrollTop += at - was.anchor.at;
        was.top = box.scrollTop;
      }
    }
    remember();
  }, [look, remember]);

  // A message that is in view stays where it is.
  const reach = useCallback(() => {
    const article = articlesOf(content.current).find(({ dataset }) => dataset.id === goal.current);
    if (!article) return;
    goal.current = "";
    const box = frame.current;
    const [seen, own] = [box.getBoundingClientRect(), article.getBoundingClientRect()];
    if (own.bottom < seen.top + LINE_PX || own.top > seen.bottom - LINE_PX) box.scrollTop += own.top - seen.top;
    place.current.top = box.scrollTop;
    if (box.scrollHeight - box.clientHeight - box.scrollTop <= LINE_PX) pin(true);
    remember();
  }, [pin, remember]);

  // Render the view and some more, when little rendered content remains on one side.
  const move = useCallback(() => {
    const box = frame.current;
    if (place.current.pinned || count === 0) return;
    const [first, last] = inView(box, content.current, messages, start, heights.current);
    const enough =
      (start === 0 || first - start >= FEWEST_BESIDE) && (end === count || end - 1 - last >= FEWEST_BESIDE);
    if (enough) return;
    let low = Math.max(0, first - BESIDE);
    let high = Math.min(count, last + 1 + BESIDE);
    // Keep selected messages rendered, so that they can be copied.
    if (selects(box)) [low, high] = [Math.min(low, start), Math.max(high, end)];
    heights.current.measure(content.current);
    const focused = document.activeElement?.closest("article[data-id]");
    if (focused && box.contains(focused) && !messages.slice(low, high).some(({ id }) => id === focused.dataset.id)) {
      box.focus({ preventScroll: true });
    }
    setRange({ from: messages[low].id, size: high - low });
  }, [messages, count, start, end]);

  const toEnd = useCallback(() => {
    pin(true);
    frame.current.scrollTop = frame.current.scrollHeight;
    place.current.top = frame.current.scrollTop;
  }, [pin]);

  const last = messages.at(-1);
  const running = last?.status === "streaming" ? last.id : "";
  useLayoutEffect(() => {
    heights.current = new Heights();
  }, [conversation]);
  useLayoutEffect(() => toEnd(), [conversation, toEnd]);
  // Not when it ends: by then the reader may be elsewhere.
  useLayoutEffect(() => {
    if (running) toEnd();
  }, [running, toEnd]);

  useLayoutEffect(() => {
    const index = page?.at ? messages.findIndex(({ id }) => id === page.at) : -1;
    if (index < 0) return;
    goal.current = page.at;
    pin(false);
    setRange({ from: messages[Math.max(0, index - BESIDE)].id, size: 2 * BESIDE + 1 });
    // Later the reader goes where they like.
  }, [page, pin]);

  useLayoutEffect(() => {
    settle();
    if (goal.current) reach();
    heights.current.measure(content.current);
    move();
  });

  useEffect(() => {
    const observer = new ResizeObserver(() => frame.current && settle());
    observer.observe(content.current);
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, [settle]);

  const letGo = (event) => {
    const box = frame.current;
    if (place.current.pinned && box.scrollTop > 0 && !scrollsInside(event.target, box)) pin(false);
  };

  return {
    frame,
    content,
    away,
    shown: messages.slice(start, end),
    above: heights.current.sum(messages.slice(0, start)),
    below: heights.current.sum(messages.slice(end)),
    jump: () => {
      toEnd();
      // Its button goes away.
      frame.current.focus({ preventScroll: true });
    },
    handlers: {
      onScroll: () => {
        look();
        remember();
        move();
      },
      // Read the user's intent before anything moves, since a growing reply could undo the scroll.
      onWheel: (event) => {
        if (event.ctrlKey) return;
        const box = frame.current;
        const left = box.scrollHeight - box.clientHeight - box.scrollTop;
        if (event.deltaY < 0) letGo(event);
        else if (event.deltaY > 0 && left <= LINE_PX && !place.current.pinned) toEnd();
      },
      onKeyDown: (event) => {
        if (isTyping(event.target) || event.defaultPrevented) return;
        if (goesUp(event)) letGo(event);
        else if (event.key === "End") toEnd();
      },
    },
  };
}
