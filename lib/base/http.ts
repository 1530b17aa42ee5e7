/** HTTP as an interface of the outside world; `lib/sys/http.ts` implements it. */
export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST";
  /** Absolute, http or https. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends the request, and reading the answer's body. */
  readonly signal?: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** Names are compared without regard to case. @returns several values joined with ", " */
  header(name: string): string | undefined;
  /** Must be read to its end or cancelled: until then it holds a connection. Content encodings are undone. */
  readonly body: HttpBody;
}

/** An answer's body, read once. Each chunk is valid until the next is asked for: its memory is used again. */
export interface HttpBody extends AsyncIterable<Uint8Array> {
  /** Instead of reading it. Leaving a loop over it early does the same. */
  cancel(): Promise<void>;
}

/** Sends one request and gives its one answer: redirects are the caller's, since they move credentials. */
export interface HttpClient {
  /**
   * @throws {BangerError} `source_unavailable` where there is no answer, or nothing more of it for too long;
   * reading a body whose connection broke throws whatever that was
   * @throws the signal's reason when it fires
   */
  send(request: HttpRequest): Promise<HttpResponse>;
}
