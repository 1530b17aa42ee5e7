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
  readonly body: ReadableStream<Uint8Array>;
}

/** Sends one request and gives its one answer: redirects are the caller's, since they move credentials. */
export interface HttpClient {
  /**
   * @throws {BangerError} `source_unavailable` where there is no answer
   * @throws the signal's reason when it fires
   */
  send(request: HttpRequest): Promise<HttpResponse>;
}
