// A text that the server has. What is typed stays until the server has another `value`, or has saved it once
// more (`saved` counts). The stylesheet hides what was said of the last time while something else is typed.
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
