/** Waits until a server that a test has started answers `url` with success, half a minute at most. */
export async function untilReady(url: string): Promise<void> {
  await untilResponse(url, ({ ok }) => ok);
}

/** The same for any answer: a refusal is one. */
export async function untilAnswers(url: string): Promise<void> {
  await untilResponse(url, () => true);
}

async function untilResponse(url: string, isEnough: (response: Response) => boolean): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    try {
      const response = await fetch(url);
      await response.body?.cancel();
      if (isEnough(response)) return;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${url} was not ready after half a minute`);
}
