/** Everything the page says, in its two languages. */

const en = {
  code: "en",
  other: { code: "zh", label: "中文", name: "换成中文" },
  title: "Shop assistant",
  greeting: "Hello. How can we help?",
  introduction: "Ask about products, orders and returns. An AI assistant answers, and a colleague where it matters.",
  examplesLabel: "For example",
  examples: ["Are the noise-cancelling headphones in stock?", "Where is my parcel? Order 1021", "How do I return something?"],
  transcript: "Conversation",
  composer: "Your message",
  placeholder: "Write a message",
  send: "Send",
  hint: "Enter sends, Shift+Enter begins a new line.",
  stop: "Stop the answer",
  anew: "New conversation",
  close: "Close the chat",
  latest: "Latest message",
  you: "You: ",
  assistant: "Assistant: ",
  colleague: "A colleague",
  says: (name) => `${name}: `,
  sending: "Sending…",
  sent: "Sent",
  typing: "Typing…",
  stopping: "Stopping…",
  takenBack: "Taken back",
  waitingForPlace: "Sent. Waiting for the assistant.",
  retry: "Try again",
  retryNow: "Try now",
  sendAgain: "Send again",
  agree: "Agree",
  decline: "Decline",
  confirmLabel: "Please decide",
  agreed: "Agreed",
  declined: "Declined",
  tooLate: "The time to decide is over.",
  handedOff: "A colleague takes over from here.",
  expired: "This took too long and was not answered.",
  failed: "This could not be answered.",
  cancelled: "Stopped.",
  rateLabel: "Rate this answer",
  rateGood: "Good answer",
  rateBad: "Bad answer",
  rateFailed: "Not sent. Please try again.",
  remark: "Tell us why, if you like",
  thanks: "Thank you.",
  connecting: "Connecting…",
  lost: "The connection is lost. Reconnecting…",
  offline: "You are offline. What you write is sent when you are back.",
  unauthorised: "Your sign-in has expired. Please reload the shop's page and open the chat again.",
  forbidden: "This conversation is not open to you. Please open the chat from the shop's page again.",
  place({ ahead, estimated_wait_s: seconds }) {
    const who = ahead > 0 ? `${ahead} before you` : "You are next";
    return seconds == null ? who : `${who}, about ${this.span(seconds)}`;
  },
  span(seconds) {
    if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
    return `${Math.round(seconds / 60)} min`;
  },
  problem({ code, estimate }, failed) {
    const wait = estimate == null ? "" : ` It would take about ${this.span(estimate)}.`;
    const again = failed ? " Not sent." : " We keep trying.";
    switch (code) {
      case "offline":
        return "You are offline. Sent as soon as you are back.";
      case "network":
        return `The connection failed.${again}`;
      case "busy":
        return `Very many people are asking just now.${wait}${again}`;
      case "rate_limited":
        return `That was a lot of messages at once.${again}`;
      case "unauthorised":
        return "Not sent: your sign-in has expired.";
      case "forbidden":
        return "Not sent: this conversation is not open to you.";
      case "too_large":
        return "Not sent: the message is too long.";
      case "invalid":
      case "refused":
      case "conflict":
        return "Not sent: the message was refused.";
      default:
        return `We could not take the message just now.${again}`;
    }
  },
};

const zh = {
  ...en,
  code: "zh",
  other: { code: "en", label: "English", name: "Switch to English" },
  title: "购物助手",
  greeting: "您好，有什么可以帮您？",
  introduction: "商品、订单、退换货都可以问。由 AI 助手回答，需要时会转给人工客服。",
  examplesLabel: "比如",
  examples: ["无线降噪耳机还有货吗？", "我的包裹到哪了？订单 1021", "怎么退货？"],
  transcript: "对话",
  composer: "您的消息",
  placeholder: "输入消息",
  send: "发送",
  hint: "按 Enter 发送，Shift+Enter 换行。",
  stop: "停止回答",
  anew: "新对话",
  close: "关闭对话",
  latest: "最新消息",
  you: "您：",
  assistant: "助手：",
  colleague: "人工客服",
  says: (name) => `${name}：`,
  sending: "发送中…",
  sent: "已发送",
  typing: "正在输入…",
  stopping: "正在停止…",
  takenBack: "已撤回",
  waitingForPlace: "已发送，等待助手回复。",
  retry: "重试",
  retryNow: "立即重试",
  sendAgain: "重新发送",
  agree: "同意",
  decline: "不同意",
  confirmLabel: "请确认",
  agreed: "同意",
  declined: "不同意",
  tooLate: "确认时间已过。",
  handedOff: "接下来由人工客服为您服务。",
  expired: "等待时间过长，这条消息没有得到回复。",
  failed: "这条消息暂时无法回复。",
  cancelled: "已停止。",
  rateLabel: "评价这条回复",
  rateGood: "回答得好",
  rateBad: "回答得不好",
  rateFailed: "未能提交，请重试。",
  remark: "愿意的话，请说说原因",
  thanks: "谢谢您的反馈。",
  connecting: "连接中…",
  lost: "连接已断开，正在重连…",
  offline: "您已离线，恢复网络后会自动发送。",
  unauthorised: "登录已过期，请刷新店铺页面后重新打开对话。",
  forbidden: "您无权打开此对话，请从店铺页面重新进入。",
  place({ ahead, estimated_wait_s: seconds }) {
    const who = ahead > 0 ? `前面还有 ${ahead} 位` : "下一位就是您";
    return seconds == null ? who : `${who}，约 ${this.span(seconds)}`;
  },
  span(seconds) {
    if (seconds < 90) return `${Math.max(1, Math.round(seconds))} 秒`;
    return `${Math.round(seconds / 60)} 分钟`;
  },
  problem({ code, estimate }, failed) {
    const wait = estimate == null ? "" : `预计需等待 ${this.span(estimate)}。`;
    const again = failed ? "消息未发送。" : "正在自动重试。";
    switch (code) {
      case "offline":
        return "您已离线，恢复网络后自动发送。";
      case "network":
        return `网络连接失败。${again}`;
      case "busy":
        return `现在咨询的人非常多。${wait}${again}`;
      case "rate_limited":
        return `消息发送过于频繁。${again}`;
      case "unauthorised":
        return "未发送：登录已过期。";
      case "forbidden":
        return "未发送：您无权使用此对话。";
      case "too_large":
        return "未发送：消息过长。";
      case "invalid":
      case "refused":
      case "conflict":
        return "未发送：消息被拒绝。";
      default:
        return `暂时无法接收消息。${again}`;
    }
  },
};

export const WORDS = { en, zh };

/** What the address asks for, else what was chosen before, else the first language of the browser that the page speaks. */
export function chooseLanguage(chosen) {
  const wanted = [new URLSearchParams(location.search).get("lang"), chosen, ...navigator.languages];
  for (const tag of wanted) {
    const code = tag?.toLowerCase().split("-")[0];
    if (code in WORDS) return code;
  }
  return "en";
}
