// Tokens and who one is: /api/v1/tokens, /api/v1/session.
import { data } from './http.ts';

export type Scope = 'read' | 'push' | 'edit' | 'admin';
export type TokenMode = 'off' | 'push' | 'write' | 'all';
export interface Token {
  id: string;
  name: string;
  scopes: Scope[];
  created_ms: number;
  /** 0: never. */
  expires_ms: number;
  /** 0: not yet. */
  last_used_ms: number;
}
export interface Session {
  mode: TokenMode;
  name: string | null;
  scopes: Scope[] | null;
}
const send = (method: string, body?: unknown): RequestInit => ({ method, ...(body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }) });

export const tokens = (signal?: AbortSignal): Promise<{ mode: TokenMode; tokens: Token[] }> => data('/api/v1/tokens', {}, signal ? { signal } : {});
export const issueToken = (token: { name: string; scopes: Scope[]; expires_ms: number }): Promise<Token & { token: string }> => data('/api/v1/tokens', {}, send('POST', token));
export const revokeToken = (id: string): Promise<unknown> => data(`/api/v1/tokens/${encodeURIComponent(id)}`, {}, send('DELETE'));
export const session = (signal?: AbortSignal): Promise<Session> => data('/api/v1/session', {}, signal ? { signal } : {});
export const signIn = (token: string): Promise<Session> => data('/api/v1/session', {}, send('POST', { token }));
export const signOut = (): Promise<Session> => data('/api/v1/session', {}, send('DELETE'));
