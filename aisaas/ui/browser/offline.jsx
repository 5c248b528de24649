// Shows that the connection is lost, once that has lasted long enough to matter.
import { useEffect, useState } from "react";

const PATIENCE_MS = 1200;

export function Offline({ errors }) {
  const [offline, setOffline] = useState(false);
  const failing = (errors?.length ?? 0) > 0;
  useEffect(() => {
    const gone = () => setOffline(true);
    window.addEventListener("offline", gone);
    if (!failing) {
      const back = () => setOffline(!navigator.onLine);
      back();
      window.addEventListener("online", back);
      return () => {
        window.removeEventListener("offline", gone);
        window.removeEventListener("online", back);
      };
    }
    const timer = setTimeout(gone, PATIENCE_MS);
    return () => {
      clearTimeout(timer);
      window.removeEventListener("offline", gone);
    };
  }, [failing]);
  return (
    <div className="offline" role="status" aria-live="polite" data-shown={offline}>
      {offline && "You're offline. Keep typing; we'll reconnect automatically."}
    </div>
  );
}
