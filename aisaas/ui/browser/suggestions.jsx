// Ways to begin a conversation. Pressed, one goes into the message box, where it can be changed first.
export function Suggestions({ items }) {
  const use = (text) => {
    const box = document.querySelector('textarea[aria-label="Message"]');
    const typed = box.value.trim() ? `${box.value}\n` : "";
    box.value = `${typed}${text}`;
    // As if it had been typed: the composer keeps drafts and knows when it may send.
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.focus();
    box.setSelectionRange(box.value.length, box.value.length);
  };
  return (
    <ul className="suggestions" aria-label="Suggestions">
      {items.map(({ title, text }) => (
        <li key={title}>
          <button type="button" className="button" onClick={() => use(text)}>
            {title}
          </button>
        </li>
      ))}
    </ul>
  );
}
