// Who looks at the page, where the server asks; and that it has asked.
import { onRefused } from '../api/http.ts';
import { session as fetchSession, signIn, signOut, type Session } from '../api/tokens.ts';

class Account {
  known = $state.raw<Session | undefined>();
  /** A request was refused for want of a token: why, in the server's words. */
  asked = $state('');

  constructor() {
    onRefused((why) => (this.asked = why));
  }
  async load(): Promise<void> {
    this.known = await fetchSession();
  }
  /** Throws when the token is none. The page begins anew, with all that was refused. */
  async enter(token: string): Promise<void> {
    this.known = await signIn(token);
    location.reload();
  }
  async leave(): Promise<void> {
    await signOut();
    location.reload();
  }
}
export const account = new Account();
