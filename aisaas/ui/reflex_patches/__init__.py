"""Everything we change in Reflex, and why. Nothing else in the product relies on its private names.

Each has a test in `tests/ui/test_reflex_patches.py` that fails once Reflex itself does what we need:
then remove the patch.

`server`, in the running app:
- Cross-origin answers. Reflex allows cookies from its configured origins, and says so to every
  page, even when no other origin is allowed. Our pages talk to their own origin and need no such
  header. No upstream issue is known.
- How long a tab's state is kept (`tab_states`). Reflex keeps every state equally long after its last
  event: strangers cost memory, and a member who reads for a while loses the tab. Expiry by time
  came with reflex-dev/reflex#6201; nothing there checks who is connected.
- Frames of running replies (`frames`). Reflex encodes each update field by field and starts a task
  for it, which costs four times what the text itself does. No upstream issue is known.
- Emptying a tab's state before any of it is sent. Only the root of the state tree can, and Reflex
  has no public API for it.

In the pages that are built:
- `reconnecting`: how soon a page reconnects. Upstream: reflex-dev/reflex#5099 and #2728.
- `one_origin`: the back end's address. Reflex writes an absolute one into the pages, so a build
  would be tied to one address. No upstream issue is known.
- `prerendering`: pages whose address has an ID are built as HTML, too. Reflex lets the router find
  the pages, and the router skips these. No upstream issue is known.
- `bundling`: the framework's scripts are one file. Reflex leaves the split to Vite and
  offers no way to add to its configuration. No upstream issue is known.
"""
