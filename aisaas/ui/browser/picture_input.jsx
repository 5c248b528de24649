// Chooses a picture, and makes it small before it is sent.
import { useSending } from "$/components/own/forms.jsx";

const SIDE = 512;
const MAX_BYTES = 240 * 1024;
const UNREADABLE = {
  code: "picture_invalid",
  message: "Your browser can't read that file. Choose a PNG, JPEG, or WebP picture.",
};

// The middle square, as small as it needs to be. Raises what the browser says of unreadable files.
async function squared(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  const from = Math.min(picture.width, picture.height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.min(SIDE, from);
  const [left, top] = [(picture.width - from) / 2, (picture.height - from) / 2];
  canvas.getContext("2d").drawImage(picture, left, top, from, from, 0, 0, canvas.width, canvas.width);
  picture.close();
  for (const [type, quality] of [["image/webp", 0.9], ["image/webp", 0.7], ["image/jpeg", 0.8]]) {
    const blob = await new Promise((done) => canvas.toBlob(done, type, quality));
    // A browser that can't write one type writes a PNG instead, which may be small enough.
    if (blob && blob.size <= MAX_BYTES) return blob;
  }
  throw new Error("no small enough picture");
}

async function fieldsOf(file) {
  try {
    const fields = new FormData();
    fields.append("picture", await squared(file), "picture");
    return fields;
  } catch {
    return UNREADABLE;
  }
}

export function PictureInput({ id, action, said }) {
  const { busy, send } = useSending();
  const onChange = (event) => {
    const [file] = event.target.files;
    if (file && !busy) send(action, fieldsOf(file), { said });
    event.target.value = "";
  };
  return (
    <input
      id={id}
      className="visually-hidden"
      type="file"
      accept="image/png,image/jpeg,image/webp"
      onChange={onChange}
    />
  );
}
