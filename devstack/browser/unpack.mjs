// Unpacks the browser, its libraries and its fonts into TMPDIR, and prints nothing.
//
// The package looks for one of its hosts before it unpacks the libraries that a bare system lacks;
// the variable tells it that it is on one.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs24.x";
const { default: chromium } = await import("@sparticuz/chromium");
await chromium.executablePath();
