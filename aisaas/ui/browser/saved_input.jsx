// An input for a value saved on the server. Typed text stays until the server has another `value`,
// or has saved again (`saved` counts). The stylesheet hides the last message while something else
// is typed.
import { useEffect, useRef } from "react";

export function SavedInput({ value, saved, ...props }) {
  const box = useRef(null);
  const put = () => {
    box.current.value = value;
    delete box.current.dataset.edited;
  };
  useEffect(put, [value]);
  useEffect(() => {
    if (saved) put();
  }, [saved]);
  const onInput = () => {
    box.current.dataset.edited = "";
  };
  return <input type="text" defaultValue={value} onInput={onInput} {...props} ref={box} />;
}
