// A native form, because the page that follows needs a new connection. The tab's token goes too:
// under it the server still holds what this user saw.
export function SignOut({ action }) {
  return (
    <form method="post" action={action} onSubmit={() => window.sessionStorage.removeItem("token")}>
      <button type="submit" className="text-button">
        Sign out
      </button>
    </form>
  );
}
