export interface Policy {
  collectors?: string[];
  origins?: string[];
  success_fraction?: number;
  failure_fraction?: number;
  max_age: number;
}
/** Sets the policy; `max_age` 0 ends it. */
export declare const configure: (next: Policy) => void;
/** The person's choice. It is kept; without one nothing is seen, stored or sent. */
export declare const consent: (choice: boolean) => void;
/** Whether reporting is on, under which policy, and every field that is sent. */
export declare function describe(): { on: boolean; policy: Policy | undefined; fields: Record<string, string> };
/** Sends what waits, now. */
export declare const flushNow: () => Promise<void>;
