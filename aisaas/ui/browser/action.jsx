// A button that is only an icon.
export function Action({ label, icon, ...props }) {
  return (
    <button type="button" className="icon-button" aria-label={label} title={label} {...props}>
      <span className={`icon icon-${icon}`} aria-hidden="true" />
    </button>
  );
}
