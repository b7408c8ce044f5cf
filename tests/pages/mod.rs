mod browser;
mod escaping;
mod forms;
mod plugins;
mod safety;
mod shown;
